using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Microsoft.ML.Mobius.Torch;

/// <summary>Resident memory of this process; libtorch's tensors are in it, where the garbage collector does not see them.</summary>
internal static partial class ProcessMemory
{
    /// <summary>The most this process has had resident, in bytes.</summary>
    public static long Peak()
    {
        using var process = Process.GetCurrentProcess();
        return process.PeakWorkingSet64;
    }

    /// <summary>
    /// Gives the pages that the allocator holds between blocks in use, and for no block, back to the system, where the allocator is glibc's: it does so by itself at its end alone.
    /// Taken again they have to be cleared anew, so that this is for moments when much is freed and little is to come.
    /// </summary>
    public static void ReturnUnused()
    {
        if (OperatingSystem.IsLinux())
            _ = Trim(0);
    }

    [LibraryImport("libc.so.6", EntryPoint = "malloc_trim")]
    private static partial int Trim(nint kept);
}
