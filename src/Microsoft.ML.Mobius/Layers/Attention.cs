using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Layers;

/// <summary>Multi-head attention softmax(q kᵀ / √d) v with diffusers' parameter names (Vaswani et al. 2017, arXiv 1706.03762).</summary>
internal sealed class Attention : nn.Module<Tensor, Tensor?, Tensor>
{
    private readonly int _heads;

    [ComponentName(Name = "to_q")] private readonly Linear _query;
    [ComponentName(Name = "to_k")] private readonly Linear _key;
    [ComponentName(Name = "to_v")] private readonly Linear _value;
    [ComponentName(Name = "to_out")] private readonly ModuleList<nn.Module> _output;

    /// <param name="channels">Width of the queries and of the result.</param>
    /// <param name="heads">Number of heads; divides <paramref name="innerChannels"/>.</param>
    /// <param name="contextChannels">Width of the attended states; <paramref name="channels"/> for self-attention.</param>
    /// <param name="innerChannels">Width over all heads; default <paramref name="channels"/>.</param>
    /// <param name="projectionBias">Whether q, k and v have a bias (the autoencoder's do, the U-Net's do not).</param>
    public Attention(int channels, int heads, int? contextChannels = null, int? innerChannels = null, bool projectionBias = false)
        : base(nameof(Attention))
    {
        int inner = innerChannels ?? channels, context = contextChannels ?? channels;
        if (inner % heads != 0)
            throw new ArgumentException($"A width of {inner} cannot be split into {heads} heads.", nameof(heads));
        _heads = heads;
        _query = nn.Linear(channels, inner, hasBias: projectionBias);
        _key = nn.Linear(context, inner, hasBias: projectionBias);
        _value = nn.Linear(context, inner, hasBias: projectionBias);
        _output = nn.ModuleList<nn.Module>(nn.Linear(inner, channels));
        RegisterComponents();
    }

    /// <param name="x">[B·r, M, C].</param>
    /// <param name="context">
    /// States attended to, [B, N, D]; null for self-attention. Where x holds r sequences for each row of the context (the frames of one clip and
    /// its caption), they are attended to as one long sequence: the same numbers, and keys and values are computed once per clip.
    /// </param>
    /// <returns>[B·r, M, C].</returns>
    public override Tensor forward(Tensor x, Tensor? context = null)
    {
        using var scope = NewDisposeScope();
        long batch = (context ?? x).shape[0];
        Tensor Split(Tensor t) => t.reshape(batch, -1, _heads, t.shape[^1] / _heads).transpose(1, 2);   // [B, heads, M, d]

        var states = context ?? x;
        var attended = nn.functional.scaled_dot_product_attention(
            Split(_query.call(x)), Split(_key.call(states)), Split(_value.call(states)));
        var merged = attended.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1);                       // [B·r, M, inner]
        return ((Linear)_output[0]).call(merged).MoveToOuterDisposeScope();
    }
}
