using Microsoft.ML.Mobius.Layers;

namespace Microsoft.ML.Mobius.UNet;

/// <summary>What one pass through a video U-Net takes at once where nothing is recorded, counted layer by layer along its plan; no tensor is made.</summary>
/// <remarks>
/// A skip stays till the way up has taken it. A layer needs, beside what it is given, what its own largest step does: in units of one result, [B·F, C, h, w].
/// </remarks>
/// <param name="config">Layout and widths.</param>
/// <param name="frames">F that the network sees at a time.</param>
/// <param name="height">h, of the latents.</param>
/// <param name="width">w, of the latents.</param>
/// <param name="spatialFrameChunk">Frames that a layer of a stream of its own computes at a time; 0 for all.</param>
internal sealed class SamplingFootprint(UNetConfig config, long frames, long height, long width, long spatialFrameChunk = 0)
{
    /// <summary>
    /// In a transformer: its tokens, a sum on their way, a norm, and the 8 + 4 of the feed-forward and its gate; or, where that is computed in pieces, queries, keys, values, what they
    /// attend to, its projection and the next sum. In TC: the sequence, results of the four convolutions and what the last of them needs. In a stream's layer beside: L(s), P(u) and their sum.
    /// </summary>
    private const int WholeTransformer = 1 + 1 + 1 + 12, TransformerInPieces = 1 + 1 + 1 + 6, TemporalConvolution = 1 + 4 + 3, Entrance = 3;

    private readonly bool _stream = config.Layout == UNetLayout.StreamParallel;
    private readonly double _share = spatialFrameChunk == 0 || config.Layout != UNetLayout.StreamParallel ? 1 : Math.Min(1, (double)spatialFrameChunk / frames);
    private readonly Stack<long> _skips = new();
    private long _kept;
    private double _peak;

    /// <summary>The most values at once.</summary>
    public long Peak()
    {
        var plan = new UNetPlan(config);
        int first = config.BlockOutChannels[0], apart = plan.Up.Count - (config.JoinsStreams ? config.JoinedLevels : 0);
        (_kept, _peak) = (0, 0);
        _skips.Clear();

        Push(Streams(first, 0, _stream));
        if (!_stream && config.Motion is null)
            Need(Transformer(8 * (first / config.Heads(0)) * (Values(first, 0) / first)));
        foreach (var level in plan.Down)
        {
            Layers(level, _stream);
            if (level.Downsamples)
                Push(Streams(level.Channels, level.Depth + 1, _stream));
        }
        Layers(plan.Mid, _stream);
        long below = Streams(plan.Mid.Channels, plan.Mid.Depth, _stream);
        for (int k = 0; k < plan.Up.Count; k++)
        {
            bool stream = _stream && k < apart;
            below = Layers(plan.Up[k], stream, below);
            if (plan.Up[k].Upsamples)
            {
                Need(below + 2 * Streams(plan.Up[k].Channels, plan.Up[k].Depth - 1, stream));
                below = Streams(plan.Up[k].Channels, plan.Up[k].Depth - 1, stream);
            }
        }
        Need(4 * Values(first, 0));                                                       // the head: its input, norm, SiLU, and where streams are fused at the end [s; u]
        return (long)_peak;
    }

    /// <summary>Values that <see cref="DeepCache"/> keeps of a pass.</summary>
    public long Cached()
    {
        var up = new UNetPlan(config).Up;
        int inner = Math.Min(up.Count - (config.JoinsStreams ? config.JoinedLevels : 0), up.Count - 1);
        return Streams(up[Math.Max(0, inner - 1)].Channels, up[Math.Max(0, inner - 1)].Depth - 1, stream: true);
    }

    /// <summary>The layers of a level; where <paramref name="stream"/>, u runs beside s.</summary>
    /// <returns>What the last gives.</returns>
    private long Layers(LevelPlan level, bool stream, long below = 0)
    {
        int c = level.Channels;
        long one = Values(c, level.Depth);
        for (int i = 0; i < level.InChannels.Count; i++)
        {
            bool attends = i < level.AttentionCount, skips = level.SkipChannels[i] > 0;
            long wide = Values(level.InChannels[i], level.Depth);
            if (skips)
                _kept -= _skips.Pop();
            long given = skips ? below + Streams(level.SkipChannels[i], level.Depth, stream) : Streams(level.InChannels[i], level.Depth, stream);
            double space = Math.Max((skips ? wide : 0) + Math.Max(2 * wide + 2 * one, 4 * one), attends ? one + Transformer(one) : 0);
            if (stream)
            {
                long ofU = Values(config.TemporalChannels(c), level.Depth);
                Need(given + one + _share * space + (_share < 1 ? one : 0));
                Need(given + one + Entrance * ofU + Math.Max(TemporalConvolution * ofU, attends ? ofU + Transformer(ofU) : 0));
            }
            else
                Need(given + (skips ? wide : 0) + Math.Max(space, 3 * one + Math.Max(config.Motion is null ? TemporalConvolution * one : 0, attends || config.Motion is not null ? Transformer(one) : 0)));
            below = Streams(c, level.Depth, stream);
            if (!skips && !level.IsMiddle)
                Push(below);
        }
        return below;
    }

    private static long Transformer(long values) => (TransformerBlock.IsInPieces(values) ? TransformerInPieces : WholeTransformer) * values;

    private void Push(long values)
    {
        _skips.Push(values);
        _kept += values;
    }

    private void Need(double values) => _peak = Math.Max(_peak, _kept + values);

    /// <summary>A result of one stream, or of both.</summary>
    private long Streams(int channels, int depth, bool stream) => Values(channels, depth) + (stream ? Values(config.TemporalChannels(channels), depth) : 0);

    /// <summary>F·C·h·w at a depth.</summary>
    private long Values(int channels, int depth) => channels * frames * Math.Max(1, height >> depth) * Math.Max(1, width >> depth);
}
