using Microsoft.ML.Mobius.Torch;
using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Layers;

/// <summary>
/// TA of method.md: at every position, attention over the frames, residual (diffusers' TransformerTemporalModel). The second attention
/// is over the frames again, or over the text where a context width is given. On wish it is told each frame's place, as AnimateDiff's motion modules are
/// (Guo et al. 2023, arXiv 2307.04725): attention alone cannot tell first from last.
/// </summary>
internal sealed class TemporalTransformer : nn.Module<Tensor, long, Tensor?, Tensor>
{
    /// <summary>Whether the first frame follows the last: their places are those of a <see cref="FrameCircle"/>.</summary>
    public bool FramesLoop;

    private readonly bool _positions;
    [ComponentName(Name = "norm")] private readonly GroupNorm _norm;
    [ComponentName(Name = "proj_in")] private readonly Linear _projectIn;
    [ComponentName(Name = "transformer_blocks")] private readonly ModuleList<TransformerBlock> _blocks;
    [ComponentName(Name = "proj_out")] private readonly Linear _projectOut;

    /// <param name="channels">Width of the stream.</param>
    /// <param name="heads">Attention heads.</param>
    /// <param name="groups">Groups of the norm, whose statistics run over all frames of a video.</param>
    /// <param name="innerChannels">Width inside; default <paramref name="channels"/>.</param>
    /// <param name="contextChannels">Width of the text states attended to; null for none.</param>
    /// <param name="positions">Whether sinusoids of the frame's number are added.</param>
    /// <param name="frameLimit">Length of the table of frame places that every attention is given, as in AnimateDiff; null for none.</param>
    public TemporalTransformer(int channels, int heads, int groups, int? innerChannels = null, int? contextChannels = null, bool positions = false,
        int? frameLimit = null)
        : base(nameof(TemporalTransformer))
    {
        int inner = innerChannels ?? channels;
        _positions = positions;
        _norm = Norms.Group(groups, channels, 1e-6);
        _projectIn = nn.Linear(channels, inner);
        _blocks = nn.ModuleList(new TransformerBlock(inner, heads, contextChannels, frameLimit));
        _projectOut = nn.Linear(inner, channels);
        RegisterComponents();
    }

    /// <summary>Makes the layer the identity, so that a network it is put into computes what it did before.</summary>
    public void StartAsIdentity()
    {
        nn.init.zeros_(_projectOut.weight!);
        nn.init.zeros_(_projectOut.bias!);
    }

    /// <param name="x">[B·F, C, h, w].</param>
    /// <param name="frames">F.</param>
    /// <param name="text">[B, N, D], or null.</param>
    /// <returns>[B·F, C, h, w].</returns>
    public override Tensor forward(Tensor x, long frames, Tensor? text = null)
    {
        using var scope = NewDisposeScope();
        var tokens = Passing.Through(() => _projectIn.call(Axes.PositionsToBatch(_norm.call(Axes.BatchToFrames(x, frames)))));    // [B·h·w, F, C]
        if (_positions)
            tokens = tokens + TimestepEmbedding.Sinusoids(FramesLoop ? FrameCircle.Places(frames, x.device) : arange(frames, device: x.device), (int)tokens.shape[2]).to(tokens.dtype);
        foreach (var block in _blocks)
            tokens = block.call(tokens, text);
        return (x + Axes.PositionsToFrames(_projectOut.call(tokens), x.shape[2], x.shape[3])).MoveToOuterDisposeScope();
    }
}
