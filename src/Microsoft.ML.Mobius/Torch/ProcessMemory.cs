using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Microsoft.ML.Mobius.Torch;

/// <summary>Resident memory of this process; libtorch's tensors are in it, where the garbage collector does not see them.</summary>
internal static partial class ProcessMemory
{
    /// <summary>Bytes of growth that <see cref="ReturnUnusedIfGrown"/> lets pass.</summary>
    public const long Growth = 256 << 20;

    /// <summary>Least resident memory since <see cref="ReturnUnusedIfGrown"/> last returned any.</summary>
    private static long s_least;

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

    /// <summary>
    /// The same if resident memory has grown by more than 256 MiB since the last time. For work that takes the same blocks again and again: to glibc's allocator, as Debian 12
    /// has it (2.36), a hole of the very size that is asked for, aligned, is too small, so that holes become more from one time to the next.
    /// </summary>
    public static void ReturnUnusedIfGrown()
    {
        long resident = Environment.WorkingSet;
        if (resident > s_least + Growth)
        {
            ReturnUnused();
            resident = Environment.WorkingSet;
        }
        else
            resident = Math.Min(resident, s_least);
        s_least = resident;
    }

    [LibraryImport("libc.so.6", EntryPoint = "malloc_trim")]
    private static partial int Trim(nint kept);
}
