using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>Processor time of this process over all its threads: other work on the machine is not in it.</summary>
internal static class ProcessorTime
{
    private const int ClockProcessCpuTime = 2;                                            // CLOCK_PROCESS_CPUTIME_ID of Linux

    /// <summary>Seconds; on Linux to the microsecond or so, elsewhere to the tick of the system.</summary>
    public static double Now()
    {
        if (OperatingSystem.IsLinux() && ClockGetTime(ClockProcessCpuTime, out var time) == 0)
            return time.Seconds + time.Nanoseconds * 1e-9;
        using var process = Process.GetCurrentProcess();
        return process.TotalProcessorTime.TotalSeconds;
    }

    [DllImport("libc", EntryPoint = "clock_gettime")]
    private static extern int ClockGetTime(int clock, out TimeSpec time);

    private readonly struct TimeSpec
    {
        public readonly nint Seconds, Nanoseconds;
    }
}
