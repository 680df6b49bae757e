using Microsoft.ML.Mobius.Torch;
using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Layers;

/// <summary>x + attn1, x + attn2, x + ff, each after its own layer norm: diffusers' BasicTransformerBlock.</summary>
internal sealed class TransformerBlock : nn.Module<Tensor, Tensor?, Tensor>
{
    /// <summary>Where the feed-forward, most of what the block keeps for the way back, is computed once more on it; null, to begin with, where it is kept.</summary>
    public Recomputation? FeedForwards;

    [ComponentName(Name = "pos_embed")] private readonly FrameTable? _places;
    [ComponentName(Name = "norm1")] private readonly LayerNorm _norm1;
    [ComponentName(Name = "attn1")] private readonly Attention _attention1;
    [ComponentName(Name = "norm2")] private readonly LayerNorm _norm2;
    [ComponentName(Name = "attn2")] private readonly Attention _attention2;
    [ComponentName(Name = "norm3")] private readonly LayerNorm _norm3;
    [ComponentName(Name = "ff")] private readonly FeedForward _feedForward;

    /// <param name="channels">Width.</param>
    /// <param name="heads">Attention heads.</param>
    /// <param name="contextChannels">Width of the states attn2 attends to; null makes attn2 a second self-attention, as in temporal layers.</param>
    /// <param name="frameLimit">Length of the table of frame places that both attentions are given, as in AnimateDiff; null for none.</param>
    public TransformerBlock(int channels, int heads, int? contextChannels, int? frameLimit = null) : base(nameof(TransformerBlock))
    {
        _places = frameLimit is { } limit ? new FrameTable(channels, limit) : null;
        _norm1 = nn.LayerNorm(channels);
        _attention1 = new Attention(channels, heads);
        _norm2 = nn.LayerNorm(channels);
        _attention2 = new Attention(channels, heads, contextChannels);
        _norm3 = nn.LayerNorm(channels);
        _feedForward = new FeedForward(channels);
        RegisterComponents();
    }

    /// <param name="x">[B·r, M, C].</param>
    /// <param name="context">[B, N, D], or null where attn2 is a self-attention.</param>
    public override Tensor forward(Tensor x, Tensor? context = null)
    {
        using var scope = NewDisposeScope();
        var y = Passing.Through(() => x + _attention1.call(Placed(_norm1.call(x)), null));
        var z = Passing.Through(() => y + _attention2.call(Placed(_norm2.call(y)), context));
        y.Dispose();
        return (FeedForwards?.Run(Fed, z) ?? (IsInPieces(z.numel()) && !is_grad_enabled() ? Recomputation.InPieces(Fed, z) : Fed(z))).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Whether the feed-forward, twelve times x at once, is computed for some rows at a time where nothing is recorded: from a million numbers on, when it would take 48 MiB.
    /// </summary>
    public static bool IsInPieces(long numbers) => numbers >= 1 << 20;

    private Tensor Fed(Tensor x) => Passing.Through(() => x + _feedForward.call(_norm3.call(x)));

    private Tensor Placed(Tensor x) => _places?.call(x) ?? x;
}
