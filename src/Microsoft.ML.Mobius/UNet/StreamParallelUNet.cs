using Microsoft.ML.Mobius.Layers;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.UNet;

/// <summary>
/// StreamParallel, the Mobius layout (arXiv 2407.06617; method.md): the spatial stream s and the temporal stream u side by side, s into u by laterals, one
/// fusion at the end. Nothing in s depends on a trained weight, so no gradient is recorded for it.
/// </summary>
internal sealed class StreamParallelUNet(UNetConfig config, SpatialStream spatial, TemporalStream temporal) : VideoUNet(config, spatial, temporal)
{
    /// <inheritdoc/>
    public override Tensor forward(Tensor z, Tensor t, Tensor text)
    {
        long frames = z.shape[2];
        var e = Spatial.TimeEmbedding(t, frames);
        var (skipsOfS, skipsOfU) = (new Stack<Tensor>(), new Stack<Tensor>());

        var s = Spatial.ConvIn(Axes.FramesToBatch(z));
        var u = Temporal.In(s, frames);
        skipsOfS.Push(s);
        skipsOfU.Push(u);
        foreach (var (space, time) in Spatial.Down().Zip(Temporal.Down()))
        {
            for (int i = 0; i < space.LayerCount(); i++)
            {
                skipsOfS.Push(s = space.Layer(i, s, e, text));
                skipsOfU.Push(u = time.Layer(i, u, s, frames, text));
            }
            if (space.HasDownsampler())
            {
                skipsOfS.Push(s = space.Downsample(s));
                skipsOfU.Push(u = time.Downsample(u));
            }
        }

        s = Spatial.Mid().Middle(s, e, text);
        u = Temporal.Mid().Middle(u, s, frames, text);

        foreach (var (space, time) in Spatial.Up().Zip(Temporal.Up()))
        {
            for (int i = 0; i < space.LayerCount(); i++)
            {
                s = space.Layer(i, cat([s, skipsOfS.Pop()], 1), e, text);
                u = time.Layer(i, cat([u, skipsOfU.Pop()], 1), s, frames, text);
            }
            if (space.HasUpsampler())
            {
                s = space.Upsample(s, skipsOfS.Peek());
                u = time.Upsample(u, skipsOfU.Peek());
            }
        }
        return Axes.BatchToFrames(Temporal.Fusion().call(s, u), frames);
    }
}
