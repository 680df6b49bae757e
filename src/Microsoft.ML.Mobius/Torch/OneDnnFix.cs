using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Torch;

/// <summary>Keeps convolutions right on AMD processors that do not tell of their caches, as in some virtual machines.</summary>
/// <remarks>
/// oneDNN 3.7, by which libtorch 2.10 convolves on the CPU, takes what CPUID's leaf 0x8000001D says of an AMD processor's caches for true, and where it says nothing for one byte. For a
/// cache so small it orders kernels of more than one position in another way, which writes the zeros that fill up a block of channels over other weights: results and gradients are wrong, for
/// most widths, and nothing tells. Its kernels for SSE4.1 take no channels that fill no block, and were right for all widths, strides and types that were tried, so that it is told, by its
/// own setting, to use no newer instructions.
/// </remarks>
internal static unsafe partial class OneDnnFix
{
    private const string Setting = "ONEDNN_MAX_CPU_ISA", Instructions = "SSE41";

    private static readonly Lazy<bool> s_works = new(Convolves);

    /// <summary>What to tell users who compute on the CPU; null where nothing is changed.</summary>
    public static string? Notice { get; private set; }

    /// <summary>Whether convolutions are right.</summary>
    public static bool Works => s_works.Value;

    /// <exception cref="InvalidOperationException">Convolutions are wrong on this CPU.</exception>
    public static void Check()
    {
        if (Notice is not null && !Works)
            throw new InvalidOperationException($"Convolutions are wrong in this process: this AMD processor does not tell of its caches, and something convolved before Microsoft.ML.Mobius "
                + $"was loaded, so that oneDNN did not read its setting. Have {Setting}={Instructions} in the environment when the program is started.");
    }

    [ModuleInitializer]
    internal static void Apply()
    {
        if (!HidesCaches(CpuId))
            return;
        Notice = "Convolutions use no instructions newer than SSE4.1, and are slower: this AMD processor does not tell of its caches, as in some virtual machines, and oneDNN's are wrong otherwise.";
        Environment.SetEnvironmentVariable(Setting, Instructions);
        if (!OperatingSystem.IsLinux())
            return;
        _ = SetNativeVariable(Setting, Instructions, overwrite: 1);      // on Linux .NET's own copy of the environment is not the one that native code reads
        SilenceNnpack();
    }

    /// <summary>NNPACK, which is asked where a convolution is small, knows no such processor, and says so each time.</summary>
    private static void SilenceNnpack()
    {
        if (NativeLibraryFix.Find("libtorch_cpu.so") is { } path && NativeLibrary.TryLoad(path, out nint library)
            && NativeLibrary.TryGetExport(library, "_ZN2at13globalContextEv", out nint context)
            && NativeLibrary.TryGetExport(library, "_ZN2at7Context20setUserEnabledNNPACKEb", out nint use))
            ((delegate* unmanaged<nint, byte, void>)use)(((delegate* unmanaged<nint>)context)(), 0);
    }

    /// <summary>Whether a convolution, of channels that fill no block of any instructions, is the product that it is.</summary>
    private static bool Convolves()
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var (x, kernel) = (arange(4 * 28 * 256).reshape(4, 28, 16, 16).sin(), arange(28 * 28 * 9).reshape(28, 28, 3, 3).cos());
        var (product, convolved) = (nn.functional.linear(x[.., .., ..3, ..3].flatten(1), kernel.flatten(1)), nn.functional.conv2d(x, kernel)[.., .., 0, 0]);
        return convolved.allclose(product, rtol: 1e-3, atol: 1e-3);
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

    [LibraryImport("libc.so.6", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int SetNativeVariable(string name, string value, int overwrite);
}
