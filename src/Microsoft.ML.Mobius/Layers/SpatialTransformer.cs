using Microsoft.ML.Mobius.Torch;
using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Layers;

/// <summary>SA of method.md: self-attention over the positions of a frame, cross-attention to the text, residual (diffusers' Transformer2DModel).</summary>
internal sealed class SpatialTransformer : nn.Module<Tensor, Tensor, Tensor>
{
    private readonly bool _linear;
    [ComponentName(Name = "norm")] private readonly GroupNorm _norm;
    [ComponentName(Name = "proj_in")] private readonly nn.Module<Tensor, Tensor> _projectIn;
    [ComponentName(Name = "transformer_blocks")] private readonly ModuleList<TransformerBlock> _blocks;
    [ComponentName(Name = "proj_out")] private readonly nn.Module<Tensor, Tensor> _projectOut;

    /// <param name="channels">Width.</param>
    /// <param name="heads">Attention heads.</param>
    /// <param name="contextChannels">Width of the text states.</param>
    /// <param name="groups">Groups of the norm.</param>
    /// <param name="linear">Whether the projections are linear layers (SD 2.x, 3D) or 1x1 convolutions: the same but for the weights' shape.</param>
    public SpatialTransformer(int channels, int heads, int contextChannels, int groups, bool linear) : base(nameof(SpatialTransformer))
    {
        _linear = linear;
        _norm = Norms.Group(groups, channels, 1e-6);
        _projectIn = Projection();
        _blocks = nn.ModuleList(new TransformerBlock(channels, heads, contextChannels));
        _projectOut = Projection();
        RegisterComponents();

        nn.Module<Tensor, Tensor> Projection() => linear ? nn.Linear(channels, channels) : nn.Conv2d(channels, channels, 1);
    }

    /// <param name="x">[B·F, C, h, w].</param>
    /// <param name="text">[B, N, D].</param>
    /// <returns>[B·F, C, h, w].</returns>
    public override Tensor forward(Tensor x, Tensor text)
    {
        using var scope = NewDisposeScope();
        Tensor Tokens(Tensor image) => image.flatten(2).transpose(1, 2);                 // [B·F, h·w, C]
        Tensor Image(Tensor tokens) => tokens.transpose(1, 2).reshape(x.shape);

        var tokens = Passing.Through(() => _linear ? _projectIn.call(Tokens(_norm.call(x))) : Tokens(_projectIn.call(_norm.call(x))));
        foreach (var block in _blocks)
            tokens = block.call(tokens, text);
        return (x + (_linear ? Image(_projectOut.call(tokens)) : _projectOut.call(Image(tokens)))).MoveToOuterDisposeScope();
    }
}
