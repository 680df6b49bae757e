using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Layers;

/// <summary>
/// The table of frame places in AnimateDiff's motion modules (Guo et al. 2023, arXiv 2307.04725): x + pe, where pe[f, 2i] = sin(f ω_i),
/// pe[f, 2i+1] = cos(f ω_i) and ω_i = 10000^(-2i / C). It is stored with the weights, and the stored one counts.
/// </summary>
internal sealed class FrameTable : nn.Module<Tensor, Tensor>
{
    /// <summary>Whether the first frame follows the last: their places are those of a <see cref="FrameCircle"/>.</summary>
    public bool FramesLoop;

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
    public override Tensor forward(Tensor x) => x.shape[1] <= _limit ? x + Places(x.shape[1])
        : throw new ArgumentException($"The motion modules have places for {_limit} frames, not for {x.shape[1]}.", nameof(x));

    private Tensor Places(long frames)
        => get_buffer("pe")! is var pe && FramesLoop ? pe.index_select(1, FrameCircle.Places(frames, pe.device)) : pe.narrow(1, 0, frames);
}
