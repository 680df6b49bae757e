using Microsoft.ML.Mobius.Layers;
using Microsoft.ML.Mobius.Torch;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.UNet;

/// <summary>
/// LayerParallel (method.md): h = SC(h) + TC(h), then h = SA(h) + TA(h), in one stream, one skip per layer; the middle block's first pair is
/// serial. The network that the authors of arXiv 2407.06617 published, with their names of parameters and their sums: nothing is halved,
/// though both transformers carry their input on.
/// </summary>
/// <remarks>
/// Theirs starts with temporal layers drawn at random. Here TC starts at zero and TA as the identity, which leaves the image model's layers the
/// most of what they were trained on; it is not the image model, for every SA(h) + h doubles the stream.
/// </remarks>
internal sealed class LayerParallelUNet(UNetConfig config, SpatialStream spatial, TemporalStream temporal) : VideoUNet(config, spatial, temporal)
{
    /// <inheritdoc/>
    protected override Tensor Forward(Tensor z, Tensor t, Tensor text, Recomputation? recomputation)
    {
        using var scope = recomputation is null ? NewDisposeScope() : null;
        long frames = z.shape[2];
        var e = Spatial.TimeEmbedding(t, frames);
        var skips = new Stack<Tensor>();

        Tensor Computed(int depth, Func<Tensor, Tensor> layer, Tensor h) => Part(recomputation, depth, () => layer(h));
        Tensor Convolutions(SpatialBlock space, TemporalBlock time, int i, Tensor x)
            => space.Resnet(i, x, e) + time.Convolution(i, x, frames);

        Tensor Attentions(SpatialBlock space, TemporalBlock time, int i, Tensor x)
            => space.HasAttention() ? space.Attention(i, x, text) + time.Attention(i, x, frames, text) : x;

        Tensor Layer(SpatialBlock space, TemporalBlock time, int i, params Tensor[] h)
            => Part(recomputation, space.Depth, () => Attentions(space, time, i, Convolutions(space, time, i, Joined(h))));

        var h = Computed(0, h0 => Temporal.In(h0, frames), Spatial.ConvIn(Axes.FramesToBatch(z)));
        skips.Push(h);
        foreach (var (space, time) in Spatial.Down().Zip(Temporal.Down()))
        {
            for (int i = 0; i < space.LayerCount(); i++)
                skips.Push(h = Layer(space, time, i, h));
            if (space.HasDownsampler())
                skips.Push(h = Computed(Between, space.Downsample, h));
        }

        h = Computed(Spatial.Mid().Depth, h => Attentions(Spatial.Mid(), Temporal.Mid(), 0, Temporal.Mid().Convolution(0, Spatial.Mid().Resnet(0, h, e), frames)), h);
        h = Computed(Spatial.Mid().Depth, h => Convolutions(Spatial.Mid(), Temporal.Mid(), 1, h), h);

        foreach (var (space, time) in Spatial.Up().Zip(Temporal.Up()))
        {
            for (int i = 0; i < space.LayerCount(); i++)
                h = Layer(space, time, i, h, skips.Pop());
            if (space.HasUpsampler())
            {
                long[] size = skips.Peek().shape[2..];
                h = Computed(Between, h => space.Upsample(h, size), h);
            }
        }
        var predicted = Axes.BatchToFrames(Spatial.Head(h), frames);
        return scope is null ? predicted : predicted.MoveToOuterDisposeScope();
    }
}
