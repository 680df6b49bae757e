using Microsoft.ML.Mobius.Layers;
using Microsoft.ML.Mobius.Torch;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.UNet;

/// <summary>Serial (method.md): SC, TC, SA, TA in one stream, one skip per layer; diffusers' UNet3DConditionModel.</summary>
internal sealed class SerialUNet(UNetConfig config, SpatialStream spatial, TemporalStream temporal) : VideoUNet(config, spatial, temporal)
{
    /// <inheritdoc/>
    protected override Tensor Forward(Tensor z, Tensor t, Tensor text, Recomputation? recomputation)
    {
        using var scope = recomputation is null ? NewDisposeScope() : null;
        long frames = z.shape[2];
        var e = Spatial.TimeEmbedding(t, frames);
        var skips = new Stack<Tensor>();

        Tensor Computed(int depth, Func<Tensor, Tensor> layer, Tensor h) => Part(recomputation, depth, () => layer(h));
        Tensor Layer(SpatialBlock space, TemporalBlock time, int i, params Tensor[] h)
            => InOneStream(recomputation, space.Depth, space, time, i, h, e, text, frames);

        var h = Computed(0, h0 => Temporal.In(h0, frames), Spatial.ConvIn(Axes.FramesToBatch(z)));
        skips.Push(h);
        foreach (var (space, time) in Spatial.Down().Zip(Temporal.Down()))
        {
            for (int i = 0; i < space.LayerCount(); i++)
                skips.Push(h = Layer(space, time, i, h));
            if (space.HasDownsampler())
                skips.Push(h = Computed(Between, space.Downsample, h));
        }

        h = Layer(Spatial.Mid(), Temporal.Mid(), 0, h);
        h = Computed(Spatial.Mid().Depth, h => Temporal.Mid().Convolution(1, Spatial.Mid().Resnet(1, h, e), frames), h);

        foreach (var (space, time) in Spatial.Up().Zip(Temporal.Up()))
        {
            for (int i = 0; i < space.LayerCount(); i++)
            {
                var (below, skip) = (h, skips.Pop());
                h = Layer(space, time, i, below, skip);
                Release(recomputation, below, skip);
            }
            if (space.HasUpsampler())
            {
                var (below, size) = (h, skips.Peek().shape[2..]);
                h = Computed(Between, h => space.Upsample(h, size), below);
                Release(recomputation, below);
            }
        }
        var predicted = Axes.BatchToFrames(Spatial.Head(h), frames);
        return scope is null ? predicted : predicted.MoveToOuterDisposeScope();
    }
}
