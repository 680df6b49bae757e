using Microsoft.ML.Mobius.Layers;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.UNet;

/// <summary>Serial (method.md): SC, TC, SA, TA in one stream, one skip per layer; diffusers' UNet3DConditionModel.</summary>
internal sealed class SerialUNet(UNetConfig config, SpatialStream spatial, TemporalStream temporal) : VideoUNet(config, spatial, temporal)
{
    /// <inheritdoc/>
    public override Tensor forward(Tensor z, Tensor t, Tensor text)
    {
        long frames = z.shape[2];
        var e = Spatial.TimeEmbedding(t, frames);
        var skips = new Stack<Tensor>();

        Tensor Layer(SpatialBlock space, TemporalBlock time, int i, Tensor x)
        {
            x = time.Convolution(i, space.Resnet(i, x, e), frames);
            return time.Attention(i, space.Attention(i, x, text), frames, text);
        }

        var h = Temporal.In(Spatial.ConvIn(Axes.FramesToBatch(z)), frames);
        skips.Push(h);
        foreach (var (space, time) in Spatial.Down().Zip(Temporal.Down()))
        {
            for (int i = 0; i < space.LayerCount(); i++)
                skips.Push(h = Layer(space, time, i, h));
            if (space.HasDownsampler())
                skips.Push(h = space.Downsample(h));
        }

        h = Layer(Spatial.Mid(), Temporal.Mid(), 0, h);
        h = Temporal.Mid().Convolution(1, Spatial.Mid().Resnet(1, h, e), frames);

        foreach (var (space, time) in Spatial.Up().Zip(Temporal.Up()))
        {
            for (int i = 0; i < space.LayerCount(); i++)
                h = Layer(space, time, i, cat([h, skips.Pop()], 1));
            if (space.HasUpsampler())
                h = space.Upsample(h, skips.Peek());
        }
        return Axes.BatchToFrames(Spatial.Head(h), frames);
    }
}
