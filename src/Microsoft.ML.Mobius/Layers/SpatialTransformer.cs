using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Layers;

/// <summary>SA of method.md: self-attention over the positions of a frame, cross-attention to the text, residual (diffusers' Transformer2DModel).</summary>
internal sealed class SpatialTransformer : nn.Module<Tensor, Tensor, Tensor>
{
    [ComponentName(Name = "norm")] private readonly GroupNorm _norm;
    [ComponentName(Name = "proj_in")] private readonly Linear _projectIn;
    [ComponentName(Name = "transformer_blocks")] private readonly ModuleList<TransformerBlock> _blocks;
    [ComponentName(Name = "proj_out")] private readonly Linear _projectOut;

    public SpatialTransformer(int channels, int heads, int contextChannels, int groups) : base(nameof(SpatialTransformer))
    {
        _norm = Norms.Group(groups, channels, 1e-6);
        _projectIn = nn.Linear(channels, channels);
        _blocks = nn.ModuleList(new TransformerBlock(channels, heads, contextChannels));
        _projectOut = nn.Linear(channels, channels);
        RegisterComponents();
    }

    /// <param name="x">[B·F, C, h, w].</param>
    /// <param name="text">[B, N, D].</param>
    /// <returns>[B·F, C, h, w].</returns>
    public override Tensor forward(Tensor x, Tensor text)
    {
        using var scope = NewDisposeScope();
        var tokens = _projectIn.call(_norm.call(x).flatten(2).transpose(1, 2));          // [B·F, h·w, C]
        foreach (var block in _blocks)
            tokens = block.call(tokens, text);
        return (x + _projectOut.call(tokens).transpose(1, 2).reshape(x.shape)).MoveToOuterDisposeScope();
    }
}
