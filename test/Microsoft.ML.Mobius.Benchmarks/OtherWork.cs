using System.Diagnostics;
using System.Globalization;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>How busy other processes keep the machine from the moment on when this is made.</summary>
internal sealed class OtherWork
{
    private const double TicksPerSecond = 100;                                            // USER_HZ of Linux

    private readonly long _start = Stopwatch.GetTimestamp();
    private readonly double? _before = Ticks();

    /// <summary>Cores that they have used since, on average; null where the system does not tell.</summary>
    public double? Cores() => (Ticks() - _before) / TicksPerSecond / Stopwatch.GetElapsedTime(_start).TotalSeconds;

    /// <summary>Busy ticks of all cores, less those of this process and of the processes that it has waited for.</summary>
    private static double? Ticks()
    {
        if (!OperatingSystem.IsLinux())
            return null;
        // cpu user nice system idle iowait irq softirq steal ...; pid (name) state and further numbers, the 12th to 15th after the name the times
        string[] all = File.ReadLines("/proc/stat").First().Split(' ', StringSplitOptions.RemoveEmptyEntries);
        string own = File.ReadAllText("/proc/self/stat");
        string[] self = own[(own.LastIndexOf(')') + 2)..].Split(' ');
        return Sum(all, 1, 2, 3, 6, 7, 8) - Sum(self, 11, 12, 13, 14);

        static double Sum(string[] fields, params int[] which) => which.Sum(i => double.Parse(fields[i], CultureInfo.InvariantCulture));
    }
}
