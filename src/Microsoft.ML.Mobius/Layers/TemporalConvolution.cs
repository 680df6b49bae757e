using System.Numerics;
using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Layers;

/// <summary>
/// TC of method.md: x + four times (group norm, SiLU, convolution (3, 1, 1) over the frames), diffusers' TemporalConvLayer. The last convolution
/// starts at zero, so the layer starts as the identity. In LayerParallel it is p + four times (the same) of p, where p = proj_conv(x), one
/// convolution more, maps the channels in to the channels out.
/// </summary>
internal sealed class TemporalConvolution : nn.Module<Tensor, long, Tensor>
{
    /// <summary>Whether the first frame follows the last: see <see cref="FrameCircle"/>. Else there are zeros before the one and after the other.</summary>
    public bool FramesLoop;

    [ComponentName(Name = "proj_conv")] private readonly FrameConvolution? _projection;
    [ComponentName(Name = "conv1")] private readonly FrameConvolution _conv1;
    [ComponentName(Name = "conv2")] private readonly FrameConvolution _conv2;
    [ComponentName(Name = "conv3")] private readonly FrameConvolution _conv3;
    [ComponentName(Name = "conv4")] private readonly FrameConvolution _conv4;

    /// <param name="channels">C, channels out.</param>
    /// <param name="groups">Groups of the norms, whose statistics run over all frames of a video.</param>
    /// <param name="dropout">Share of values dropped in training before the second to the fourth convolution.</param>
    /// <param name="inChannels">Channels in, where one convolution more maps them to C; null where they are C and there is none.</param>
    /// <param name="innerChannels">Channels between the four convolutions; default <paramref name="channels"/>.</param>
    public TemporalConvolution(int channels, int groups, double dropout = 0, int? inChannels = null, int? innerChannels = null)
        : base(nameof(TemporalConvolution))
    {
        int inner = innerChannels ?? channels, innerGroups = (int)BigInteger.GreatestCommonDivisor(groups, inner);
        _projection = inChannels is { } width ? new FrameConvolution(width, channels, groups, dropout: null) : null;
        _conv1 = new FrameConvolution(channels, inner, groups, dropout: null);
        _conv2 = new FrameConvolution(inner, inner, innerGroups, dropout);
        _conv3 = new FrameConvolution(inner, inner, innerGroups, dropout);
        _conv4 = new FrameConvolution(inner, channels, innerGroups, dropout);
        _conv4.StartAtZero();
        RegisterComponents();
    }

    /// <summary>Makes a layer that has a projection zero, so that a sum it is part of is what it was without it.</summary>
    public void StartAtZero() => _projection!.StartAtZero();

    /// <summary>Lets a layer that has a projection pass SiLU(norm(x)) on, which is the nearest to x that it can.</summary>
    public void StartAsPassage() => _projection!.StartAsPassage();

    /// <param name="x">[B·F, Cin, h, w].</param>
    /// <param name="frames">F.</param>
    /// <returns>[B·F, C, h, w].</returns>
    public override Tensor forward(Tensor x, long frames)
    {
        using var scope = NewDisposeScope();
        long height = x.shape[2], width = x.shape[3];
        Tensor Images(Tensor video) => video.transpose(1, 2).reshape(x.shape[0], -1, height, width);

        var video = x.reshape(-1, frames, x.shape[1], height * width).transpose(1, 2);   // [B, Cin, F, h·w]
        var p = _projection?.call(video, FramesLoop) ?? video;                           // [B, C, F, h·w]
        var h = new[] { _conv1, _conv2, _conv3, _conv4 }.Aggregate(p, (h, convolution) => convolution.call(h, FramesLoop));
        return (Images(p) + Images(h)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Norm, SiLU, dropout, convolution. The kernel (3, 1, 1) never looks sideways, so the h·w positions are one axis and a 2D kernel (3, 1) does it.
    /// Keys are those of diffusers' Sequential: the convolution is number 2, or 3 where a dropout stands before it.
    /// </summary>
    private sealed class FrameConvolution : nn.Module<Tensor, bool, Tensor>
    {
        // Not fields of their own: TorchSharp would register those once more, under the fields' names.
        private readonly (GroupNorm Norm, Conv3d Convolution) _layers;
        private readonly double _dropout;

        public FrameConvolution(int inChannels, int outChannels, int groups, double? dropout) : base(nameof(FrameConvolution))
        {
            _dropout = dropout ?? 0;
            _layers = (Norms.Group(groups, inChannels, 1e-5), nn.Conv3d(inChannels, outChannels, (3, 1, 1), padding: (1, 0, 0)));
            register_module("0", _layers.Norm);
            register_module(dropout is null ? "2" : "3", _layers.Convolution);
        }

        public void StartAtZero()
        {
            nn.init.zeros_(_layers.Convolution.weight!);
            nn.init.zeros_(_layers.Convolution.bias!);
        }

        public void StartAsPassage()
        {
            nn.init.dirac_(_layers.Convolution.weight!);
            nn.init.zeros_(_layers.Convolution.bias!);
        }

        public override Tensor forward(Tensor x, bool framesLoop)
        {
            using var scope = NewDisposeScope();
            var h = nn.functional.silu(_layers.Norm.call(x));
            if (training && _dropout > 0)
                h = nn.functional.dropout(h, _dropout, training: true);
            return nn.functional.conv2d(framesLoop ? FrameCircle.Closed(h, 2) : h, _layers.Convolution.weight!.squeeze(-1), _layers.Convolution.bias,
                padding: [framesLoop ? 0 : 1, 0]).MoveToOuterDisposeScope();
        }
    }
}
