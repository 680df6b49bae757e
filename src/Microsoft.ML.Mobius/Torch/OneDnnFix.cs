using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace Microsoft.ML.Mobius.Torch;

/// <summary>Keeps convolutions right on AMD processors that do not tell of their caches, as in some virtual machines.</summary>
/// <remarks>
/// oneDNN 3.7, by which libtorch 2.10 convolves on the CPU, takes what CPUID's leaf 0x8000001D says of an AMD processor's caches for true, and where it says nothing for one byte. For a
/// cache so small it orders kernels of more than one position in another way, which writes the zeros that fill up the last block of channels over other weights: where channels are no
/// multiple of 16 (8 with AVX2), results and gradients are wrong, and nothing tells. There libtorch is told to convolve without oneDNN: right, but slower, and in more memory.
/// </remarks>
internal static unsafe class OneDnnFix
{
    /// <summary>What to tell users who compute on the CPU; null where oneDNN is used.</summary>
    public static string? Notice { get; private set; }

    /// <summary>Whether libtorch was told to do without oneDNN; where there is a notice nevertheless, convolutions are wrong.</summary>
    public static bool Applied { get; private set; }

    [ModuleInitializer]
    internal static void Apply()
    {
        if (!HidesCaches(CpuId))
            return;
        Applied = OperatingSystem.IsLinux() && NativeLibraryFix.Find("libtorch_cpu.so") is { } path && SwitchOff(path);
        Notice = (Applied ? "Convolutions are computed without oneDNN, slower and in more memory than estimated" : "Convolutions are wrong on this CPU, and oneDNN, which computes them, could not be switched off")
            + ": this AMD processor does not tell of its caches, as in some virtual machines, and oneDNN's are wrong then.";
    }

    private static bool SwitchOff(string path)
    {
        // NNPACK, which would be asked next, knows no such processor, and says so on standard error.
        if (!NativeLibrary.TryLoad(path, out nint library) || !NativeLibrary.TryGetExport(library, "_ZN2at13globalContextEv", out nint context)
            || !NativeLibrary.TryGetExport(library, "_ZN2at7Context20setUserEnabledMkldnnEb", out nint useOneDnn)
            || !NativeLibrary.TryGetExport(library, "_ZN2at7Context20setUserEnabledNNPACKEb", out nint useNnpack))
            return false;
        foreach (nint use in (nint[])[useOneDnn, useNnpack])
            ((delegate* unmanaged<nint, byte, void>)use)(((delegate* unmanaged<nint>)context)(), 0);
        return true;
    }

    /// <summary>Whether oneDNN would take a cache to be of one byte.</summary>
    /// <param name="cpuId">Eax, ebx, ecx and edx of a leaf and its sub-leaf; null where there is no such instruction.</param>
    internal static bool HidesCaches(Func<int, int, (int Eax, int Ebx, int Ecx, int Edx)>? cpuId)
    {
        const int Vendor = 0, LastExtended = unchecked((int)0x80000000), Caches = unchecked((int)0x8000001D), CacheType = 0x1f;
        if (cpuId is null)
            return false;
        var (_, ebx, ecx, edx) = cpuId(Vendor, 0);
        ReadOnlySpan<int> vendor = [ebx, edx, ecx];
        return MemoryMarshal.AsBytes(vendor).SequenceEqual("AuthenticAMD"u8)
            && ((uint)cpuId(LastExtended, 0).Eax < unchecked((uint)Caches) || (cpuId(Caches, 0).Eax & CacheType) == 0);
    }

    private static Func<int, int, (int Eax, int Ebx, int Ecx, int Edx)>? CpuId => X86Base.IsSupported ? X86Base.CpuId : null;
}
