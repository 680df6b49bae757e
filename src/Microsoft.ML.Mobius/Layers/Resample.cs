using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Layers;

/// <summary>Halves height and width by a 3x3 convolution of stride 2.</summary>
internal sealed class Downsampler : nn.Module<Tensor, Tensor>
{
    private readonly int _padding;
    [ComponentName(Name = "conv")] private readonly Conv2d _conv;

    /// <param name="channels">Channels in and out.</param>
    /// <param name="padding">1 on all sides (the U-Net), or 0: one row and column at the lower right end (the autoencoder).</param>
    public Downsampler(int channels, int padding = 1) : base(nameof(Downsampler))
    {
        _padding = padding;
        _conv = nn.Conv2d(channels, channels, 3, stride: 2, padding: padding);
        RegisterComponents();
    }

    public Conv2d Convolution() => _conv;

    /// <param name="x">[N, C, h, w].</param>
    /// <returns>[N, C, ⌈h/2⌉, ⌈w/2⌉] with padding 1, [N, C, ⌊h/2⌋, ⌊w/2⌋] with padding 0.</returns>
    public override Tensor forward(Tensor x)
        => _conv.call(_padding == 0 ? nn.functional.pad(x, [0, 1, 0, 1]) : x);
}

/// <summary>Doubles height and width by nearest neighbours, then a 3x3 convolution.</summary>
internal sealed class Upsampler : nn.Module<Tensor, long[]?, Tensor>
{
    [ComponentName(Name = "conv")] private readonly Conv2d _conv;

    public Upsampler(int channels) : base(nameof(Upsampler))
    {
        _conv = nn.Conv2d(channels, channels, 3, padding: 1);
        RegisterComponents();
    }

    public Conv2d Convolution() => _conv;

    /// <param name="x">[N, C, h, w].</param>
    /// <param name="size">Height and width of the result where they are not the double (the next skip has an odd size); else null.</param>
    public override Tensor forward(Tensor x, long[]? size = null)
    {
        size ??= [2 * x.shape[2], 2 * x.shape[3]];
        return _conv.call(nn.functional.interpolate(x, size: size, mode: InterpolationMode.Nearest));
    }

    /// <summary>The double size, for so many rows of the result at a time and without gradients.</summary>
    public Tensor InRows(Tensor x, int rows)
        => RowStrips.Convolved(_conv, x, rows, scale: 2, part => nn.functional.interpolate(part, scale_factor: [2, 2], mode: InterpolationMode.Nearest));
}
