using Microsoft.ML.Mobius.Layers;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.UNet;

/// <summary>
/// LayerParallel (method.md): h = SC(h) + TC(h), then h = SA(h) + TA(h), in one stream, one skip per layer; the middle block's first pair is serial. The
/// network that the authors of arXiv 2407.06617 published, with their names of parameters and their sums: nothing is halved, though both transformers
/// carry their input on.
/// </summary>
/// <remarks>
/// Theirs starts with temporal layers drawn at random. Here TC starts at zero and TA as the identity, which leaves the image model's layers the most of
/// what they were trained on; it is not the image model, whose stream is doubled by every SA(h) + h.
/// </remarks>
internal sealed class LayerParallelUNet(UNetConfig config, SpatialStream spatial, TemporalStream temporal) : VideoUNet(config, spatial, temporal)
{
    /// <inheritdoc/>
    public override Tensor forward(Tensor z, Tensor t, Tensor text)
    {
        long frames = z.shape[2];
        var e = Spatial.TimeEmbedding(t, frames);
        var skips = new Stack<Tensor>();

        Tensor Convolutions(SpatialBlock space, TemporalBlock time, int i, Tensor x)
            => space.Resnet(i, x, e) + time.Convolution(i, x, frames);

        Tensor Attentions(SpatialBlock space, TemporalBlock time, int i, Tensor x)
            => space.HasAttention() ? space.Attention(i, x, text) + time.Attention(i, x, frames, text) : x;

        var h = Temporal.In(Spatial.ConvIn(Axes.FramesToBatch(z)), frames);
        skips.Push(h);
        foreach (var (space, time) in Spatial.Down().Zip(Temporal.Down()))
        {
            for (int i = 0; i < space.LayerCount(); i++)
                skips.Push(h = Attentions(space, time, i, Convolutions(space, time, i, h)));
            if (space.HasDownsampler())
                skips.Push(h = space.Downsample(h));
        }

        h = Temporal.Mid().Convolution(0, Spatial.Mid().Resnet(0, h, e), frames);
        h = Attentions(Spatial.Mid(), Temporal.Mid(), 0, h);
        h = Convolutions(Spatial.Mid(), Temporal.Mid(), 1, h);

        foreach (var (space, time) in Spatial.Up().Zip(Temporal.Up()))
        {
            for (int i = 0; i < space.LayerCount(); i++)
                h = Attentions(space, time, i, Convolutions(space, time, i, cat([h, skips.Pop()], 1)));
            if (space.HasUpsampler())
                h = space.Upsample(h, skips.Peek());
        }
        return Axes.BatchToFrames(Spatial.Head(h), frames);
    }
}
