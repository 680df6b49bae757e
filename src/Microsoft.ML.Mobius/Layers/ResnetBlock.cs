using Microsoft.ML.Mobius.Torch;
using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Layers;

/// <summary>SC of method.md: shortcut(x) + conv(silu(norm(conv(silu(norm x)) + W e))), diffusers' ResnetBlock2D.</summary>
internal sealed class ResnetBlock : nn.Module<Tensor, Tensor?, Tensor>
{
    [ComponentName(Name = "norm1")] private readonly GroupNorm _norm1;
    [ComponentName(Name = "conv1")] private readonly Conv2d _conv1;
    [ComponentName(Name = "time_emb_proj")] private readonly Linear? _timeProjection;
    [ComponentName(Name = "norm2")] private readonly GroupNorm _norm2;
    [ComponentName(Name = "conv2")] private readonly Conv2d _conv2;
    [ComponentName(Name = "conv_shortcut")] private readonly Conv2d? _shortcut;

    /// <param name="inChannels">Channels in.</param>
    /// <param name="outChannels">Channels out; a 1x1 shortcut is added where they differ.</param>
    /// <param name="timeChannels">Width of the time embedding; null where there is none (the autoencoder).</param>
    /// <param name="groups">Groups of the norms.</param>
    /// <param name="eps">Epsilon of the norms.</param>
    public ResnetBlock(int inChannels, int outChannels, int? timeChannels, int groups, double eps) : base(nameof(ResnetBlock))
    {
        _norm1 = Norms.Group(groups, inChannels, eps);
        _conv1 = nn.Conv2d(inChannels, outChannels, 3, padding: 1);
        _timeProjection = timeChannels is { } time ? nn.Linear(time, outChannels) : null;
        _norm2 = Norms.Group(groups, outChannels, eps);
        _conv2 = nn.Conv2d(outChannels, outChannels, 3, padding: 1);
        _shortcut = inChannels == outChannels ? null : nn.Conv2d(inChannels, outChannels, 1);
        RegisterComponents();
    }

    /// <summary>The linear way around the layers, of a block whose width changes.</summary>
    public Conv2d Shortcut() => _shortcut ?? throw new InvalidOperationException("The block is as wide as what it takes.");

    /// <param name="x">[N, Cin, h, w].</param>
    /// <param name="time">[N, E], or null where the block takes none.</param>
    /// <returns>[N, Cout, h, w].</returns>
    public override Tensor forward(Tensor x, Tensor? time)
    {
        using var scope = NewDisposeScope();
        var first = Passing.Through(() =>
        {
            var h = _conv1.call(nn.functional.silu(_norm1.call(x)));
            return _timeProjection is null ? h : h + _timeProjection.call(nn.functional.silu(time!))[.., .., TensorIndex.None, TensorIndex.None];
        });
        var h = Passing.Through(() => _conv2.call(nn.functional.silu(_norm2.call(first))));
        first.Dispose();
        return ((_shortcut?.call(x) ?? x) + h).MoveToOuterDisposeScope();
    }

    /// <summary>The same without a time, for so many rows at a time and without gradients: what is kept whole is x, the first half and the result.</summary>
    public Tensor InRows(Tensor x, int rows)
    {
        using var scope = NewDisposeScope();
        var half = RowStrips.Convolved(_norm1, _conv1, x, rows);
        var h = RowStrips.Convolved(_norm2, _conv2, half, rows);
        half.Dispose();
        return h.add_(_shortcut?.call(x) ?? x).MoveToOuterDisposeScope();
    }
}
