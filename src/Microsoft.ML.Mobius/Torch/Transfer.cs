using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Torch;

/// <summary>What is made on the CPU, on its way to the device that computes.</summary>
internal static class Transfer
{
    /// <summary>The tensor on a device, or itself where it is there. To a GPU it goes from pinned memory, and nobody waits for it: what is computed with it does.</summary>
    public static Tensor OnDevice(this Tensor tensor, Device device)
        => device.type == DeviceType.CUDA && tensor.device_type == DeviceType.CPU ? tensor.pin_memory().to(device, non_blocking: true) : tensor.to(device);
}
