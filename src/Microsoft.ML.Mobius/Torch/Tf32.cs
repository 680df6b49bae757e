using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Torch;

/// <summary>
/// Whether a GPU may round the factors of float32 products and convolutions to TF32, of 11 bits of mantissa instead of 24: a setting of the process, put back when this is disposed.
/// </summary>
internal sealed class Tf32 : IDisposable
{
    private readonly bool _products = backends.cuda.matmul.allow_tf32, _convolutions = backends.cudnn.allow_tf32;

    private Tf32(bool allow) => backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = allow;

    /// <summary>Allows it, or not; null where there is no GPU, and then nothing is set.</summary>
    public static Tf32? Allow(bool allow, DeviceType on) => on == DeviceType.CUDA ? new Tf32(allow) : null;

    /// <summary>Whether results on a device are rounded so now.</summary>
    public static bool Rounds(DeviceType on) => on == DeviceType.CUDA && (backends.cuda.matmul.allow_tf32 || backends.cudnn.allow_tf32);

    public void Dispose() => (backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32) = (_products, _convolutions);
}
