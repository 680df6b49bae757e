using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Layers;

/// <summary>
/// The table of frame places in AnimateDiff's motion modules (Guo et al. 2023, arXiv 2307.04725): x + pe, where pe[f, 2i] = sin(f ω_i),
/// pe[f, 2i+1] = cos(f ω_i) and ω_i = 10000^(-2i / C). It is stored with the weights, and the stored one counts.
/// </summary>
internal sealed class FrameTable : nn.Module<Tensor, Tensor>
{
    private readonly int _limit;

    /// <param name="channels">C, even.</param>
    /// <param name="limit">Number of frames it has places for.</param>
    public FrameTable(int channels, int limit) : base(nameof(FrameTable))
    {
        _limit = limit;
        using var scope = NewDisposeScope();
        var waves = TimestepEmbedding.Sinusoids(arange(limit), channels).reshape(limit, 2, channels / 2).flip(1);      // [F, (sin, cos), C/2]
        register_buffer("pe", waves.transpose(1, 2).reshape(1, limit, channels).DetachFromDisposeScope());              // [1, F, C]
    }

    /// <param name="x">[M, F, C].</param>
    /// <exception cref="ArgumentException">There are more frames than places.</exception>
    public override Tensor forward(Tensor x) => x.shape[1] <= _limit ? x + get_buffer("pe")!.narrow(1, 0, x.shape[1])
        : throw new ArgumentException($"The motion modules have places for {_limit} frames, not for {x.shape[1]}.", nameof(x));
}
