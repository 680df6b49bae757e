using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Torch;

/// <summary>Where a model computes: the CPU, or the GPU that was asked for.</summary>
internal static class DeviceChoice
{
    /// <summary>Resolves ML.NET's GpuDeviceId and FallbackToCpu.</summary>
    /// <param name="gpuDeviceId">Which GPU, from 0; null means the CPU.</param>
    /// <param name="fallbackToCpu">Whether to compute on the CPU, with a warning, where that GPU is not there.</param>
    /// <param name="warn">Takes the warning.</param>
    /// <param name="localRank">Which of the processes on this machine: each takes a GPU of its own, from that one on, and from the first again where they are fewer.</param>
    /// <exception cref="InvalidOperationException">The GPU is not there and falling back was not allowed; or the CPU would compute, wrongly.</exception>
    public static Device Resolve(int? gpuDeviceId, bool fallbackToCpu, Action<string> warn, int localRank = 0)
    {
        var device = gpuDeviceId is { } gpu ? GpuCount() is var count && localRank > 0 && gpu < count ? Resolve((gpu + localRank) % count, fallbackToCpu, warn, count)
            : Resolve(gpu, fallbackToCpu, warn, count) : CPU;
        if (device.type == DeviceType.CPU)
            OneDnnFix.Check();
        return device;
    }

    internal static Device Resolve(int gpu, bool fallbackToCpu, Action<string> warn, int gpuCount)
    {
        if (gpu >= 0 && gpu < gpuCount)
            return device(DeviceType.CUDA, gpu);
        string there = gpuCount == 0 ? "there is no CUDA device, or this build of TorchSharp is the one for CPUs alone"
            : $"there {(gpuCount == 1 ? "is one CUDA device, with the id 0" : $"are CUDA devices with the ids 0 to {gpuCount - 1}")}";
        if (!fallbackToCpu)
            throw new InvalidOperationException($"GPU {gpu} was asked for (MLContext.GpuDeviceId), but {there}. "
                + "Set MLContext.FallbackToCpu = true to compute on the CPU, or build with the MSBuild property MobiusTorch=cuda-linux on a machine with a GPU.");
        warn($"GPU {gpu} was asked for, but {there}: computing on the CPU.");
        return CPU;
    }

    /// <summary>How many GPUs this build can compute on here.</summary>
    public static int GpuCount()
    {
        try
        {
            return cuda.is_available() ? cuda.device_count() : 0;
        }
        catch (NotSupportedException)      // how TorchSharp says that it found no CUDA libraries
        {
            return 0;
        }
    }
}
