using System.Diagnostics;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>How far the resident memory of this process rises above what it was when this was made.</summary>
internal sealed class MemoryPeak
{
    private readonly long _before;

    public MemoryPeak()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        try
        {
            if (OperatingSystem.IsLinux())
                File.WriteAllText("/proc/self/clear_refs", "5");                          // the kernel's peak starts anew from here
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Then the peak is that since the start of the process, where there was little before this.
        }
        using var process = Process.GetCurrentProcess();
        _before = process.WorkingSet64;
    }

    /// <summary>Bytes of the whole process at the peak so far.</summary>
    public long Whole() => Rise() + _before;

    /// <summary>Bytes at the peak so far, beyond those before.</summary>
    public long Rise()
    {
        using var process = Process.GetCurrentProcess();
        return process.PeakWorkingSet64 - _before;
    }
}
