using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Layers;

/// <summary>
/// 3x3 convolutions with a padding of 1, a few rows at a time and without gradients: what is computed of each pixel before them is kept for so many rows alone. The numbers
/// are those of the whole picture, but for rounding.
/// </summary>
internal static class RowStrips
{
    /// <summary>conv(SiLU(norm(x))), the norm's statistics over all rows.</summary>
    /// <param name="norm">Before it.</param>
    /// <param name="conv">3x3, padding 1.</param>
    /// <param name="x">[N, C, h, w].</param>
    /// <param name="rows">At a time, at least 1.</param>
    public static Tensor Convolved(GroupNorm norm, Conv2d conv, Tensor x, int rows)
    {
        using var scope = NewDisposeScope();
        var (scale, shift) = Norms.Affine(norm, x);
        return Convolved(conv, x, rows, scale: 1, part => nn.functional.silu(part * scale + shift)).MoveToOuterDisposeScope();
    }

    /// <summary>conv(f(x)).</summary>
    /// <param name="conv">3x3, padding 1.</param>
    /// <param name="x">[N, C, h, w].</param>
    /// <param name="rows">Of the result at a time, at least 1.</param>
    /// <param name="scale">f makes so many rows, and columns, of one.</param>
    /// <param name="f">Of each pixel by itself.</param>
    /// <returns>[N, C', scale h, scale w].</returns>
    public static Tensor Convolved(Conv2d conv, Tensor x, int rows, int scale, Func<Tensor, Tensor> f)
    {
        long height = x.shape[2], step = Math.Max(1, rows / scale);
        var result = empty([x.shape[0], conv.weight!.shape[0], scale * height, scale * x.shape[3]], dtype: x.dtype, device: x.device);
        for (long top = 0; top < height; top += step)
        {
            using var scope = NewDisposeScope();
            long end = Math.Min(top + step, height), above = Math.Min(top, 1), below = Math.Min(height - end, 1);
            var part = f(x.narrow(2, top - above, end + below - top + above));
            // One row of f's above and below is looked at; beyond the picture it is zero.
            part = part.narrow(2, above * (scale - 1), scale * (end - top) + above + below);
            part = nn.functional.pad(part, [1, 1, 1 - above, 1 - below]);
            result.narrow(2, scale * top, scale * (end - top)).copy_(nn.functional.conv2d(part, conv.weight!, conv.bias));
        }
        return result;
    }
}
