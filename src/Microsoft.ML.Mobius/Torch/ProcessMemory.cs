using System.Diagnostics;

namespace Microsoft.ML.Mobius.Torch;

/// <summary>Resident memory of this process; libtorch's tensors are in it, where the garbage collector does not see them.</summary>
internal static class ProcessMemory
{
    /// <summary>The most this process has had resident, in bytes.</summary>
    public static long Peak()
    {
        using var process = Process.GetCurrentProcess();
        return process.PeakWorkingSet64;
    }
}
