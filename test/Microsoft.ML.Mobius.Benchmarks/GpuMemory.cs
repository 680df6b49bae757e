using System.Runtime.InteropServices;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>The memory of a GPU as its driver counts it (NVML). libtorch gives none back, so that what is in use in the end is the most that was.</summary>
internal static partial class GpuMemory
{
    private const string Library = "libnvidia-ml.so.1";

    /// <summary>Bytes in use on the GPU of that number, by all processes.</summary>
    /// <exception cref="InvalidOperationException">The driver does not tell.</exception>
    public static long UsedBytes(uint gpu)
    {
        Check(Init(), "nvmlInit");
        try
        {
            Check(Handle(gpu, out nint device), "nvmlDeviceGetHandleByIndex");
            Check(MemoryInfo(device, out var memory), "nvmlDeviceGetMemoryInfo");
            return (long)memory.Used;
        }
        finally
        {
            Shutdown();
        }
    }

    private static void Check(int result, string call)
    {
        if (result != 0)
            throw new InvalidOperationException($"The GPU's driver does not tell its memory: {call} gave {result}.");
    }

    [LibraryImport(Library, EntryPoint = "nvmlInit_v2")]
    private static partial int Init();

    [LibraryImport(Library, EntryPoint = "nvmlShutdown")]
    private static partial int Shutdown();

    [LibraryImport(Library, EntryPoint = "nvmlDeviceGetHandleByIndex_v2")]
    private static partial int Handle(uint index, out nint device);

    [LibraryImport(Library, EntryPoint = "nvmlDeviceGetMemoryInfo")]
    private static partial int MemoryInfo(nint device, out Memory memory);

    [StructLayout(LayoutKind.Sequential)]
    private struct Memory
    {
        public ulong Total, Free, Used;
    }
}
