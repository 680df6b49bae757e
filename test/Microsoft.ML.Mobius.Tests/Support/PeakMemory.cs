using System.Globalization;

namespace Microsoft.ML.Mobius.Tests;

/// <summary>The most memory that this process takes in one piece of work; of Linux alone, elsewhere 0.</summary>
internal static class PeakMemory
{
    /// <returns>Bytes in RAM at the peak of <paramref name="work"/>, beyond those before it.</returns>
    public static long During(Action work)
    {
        if (!OperatingSystem.IsLinux())
        {
            work();
            return 0;
        }
        File.WriteAllText("/proc/self/clear_refs", "5");                                  // the peak starts anew from here
        long before = Status("VmRSS");
        work();
        return Status("VmHWM") - before;
    }

    private static long Status(string key)
        => 1024 * long.Parse(File.ReadLines("/proc/self/status").Single(line => line.StartsWith(key + ":", StringComparison.Ordinal))
            .Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
}
