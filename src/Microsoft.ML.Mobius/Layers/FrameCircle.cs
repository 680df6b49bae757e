using Microsoft.ML.Mobius.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Layers;

/// <summary>Frames in a circle, of which the first follows the last: what temporal layers see instead of a beginning and an end.</summary>
internal static class FrameCircle
{
    /// <summary>The last frame before the first and the first after the last: [.., F, ..] -> [.., F + 2, ..].</summary>
    /// <param name="x">Frames along one axis.</param>
    /// <param name="axis">That axis.</param>
    public static Tensor Closed(Tensor x, long axis) => cat([x.narrow(axis, x.shape[axis] - 1, 1), x, x.narrow(axis, 0, 1)], axis);

    /// <summary>
    /// The places of F frames: every other one there and those left out on the way back, 0, 2, 4, ..., 5, 3, 1. All of them are taken, as in a clip with two ends, and no
    /// two neighbours, the last and the first neither, are more than two apart.
    /// </summary>
    /// <param name="frames">F.</param>
    /// <param name="device">Of the result.</param>
    /// <returns>[F] int64.</returns>
    public static Tensor Places(long frames, Device device)
        => tensor([.. Enumerable.Range(0, (int)frames).Select(f => Math.Min(2L * f, 2 * (frames - f) - 1))]).OnDevice(device);
}
