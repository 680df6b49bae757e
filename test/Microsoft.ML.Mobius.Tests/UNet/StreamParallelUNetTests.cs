using Microsoft.ML.Mobius.Layers;
using Microsoft.ML.Mobius.UNet;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.UNet;

[TestClass]
public sealed class StreamParallelUNetTests
{
    [TestMethod]
    [DataRow(1, Lateral.Convolution, false)]
    [DataRow(1, Lateral.Identity, false)]
    [DataRow(2, Lateral.Convolution, false)]
    [DataRow(4, Lateral.Convolution, true)]
    public void Forward_BeforeTheFirstStep_IsTheImageModelBitForBit(int divisor, Lateral lateral, bool told)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        random.manual_seed(1);
        var spatial = Tiny.Spatial(Tiny.UNet);
        using var unet = VideoUNet.Around(
            spatial, Tiny.UNet with { TemporalWidthDivisor = divisor, Lateral = lateral, TemporalText = told, FramePositions = told });
        var (z, text) = (randn([1, 4, 3, 9, 7]), randn([1, 5, 16]));

        var video = unet.call(z, full([1], 400, ScalarType.Int64), text);

        var images = spatial.call(Axes.FramesToBatch(z), full([3], 400, ScalarType.Int64), text);
        Assert.IsTrue(Axes.BatchToFrames(images, 3).equal(video).all().item<bool>(), "The frames as one batch differ.");
        for (int f = 0; f < 3; f++)
            Close.Assert(spatial.call(z[.., .., f], full([1], 400, ScalarType.Int64), text), video[.., .., f], 1e-5, $"frame {f}");
    }

    [TestMethod]
    public void Backward_AnyInput_LeavesTheSpatialHalfOutOfTheGraph()
    {
        using var scope = NewDisposeScope();
        random.manual_seed(1);
        using var unet = VideoUNet.Around(Tiny.Spatial(Tiny.UNet), Tiny.UNet);
        var (z, t, text) = (randn([2, 4, 3, 8, 8]), tensor([3L, 900L]), randn([2, 5, 16]));

        Assert.IsFalse(unet.Spatial.call(Axes.FramesToBatch(z), t.repeat_interleave(3), text.repeat_interleave(3, 0)).requires_grad);
        unet.call(z, t, text).square().mean().backward();

        Assert.IsTrue(unet.Spatial.parameters().All(p => !p.requires_grad && p.grad is null));
        Assert.IsTrue(unet.Temporal.parameters().All(p => p.requires_grad));
        Assert.IsTrue(unet.Temporal.named_parameters().Single(p => p.name == "state_fusion.proj.weight").parameter.grad!.abs().sum().item<float>() > 0);
    }

    [TestMethod]
    public void Forward_TwoClips_AreIndependent()
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        random.manual_seed(1);
        using var unet = VideoUNet.Around(Tiny.Spatial(Tiny.UNet), Tiny.UNet with { TemporalText = true });
        foreach (var parameter in unet.Temporal.parameters())
            parameter.add_(randn_like(parameter) * 0.05);
        var (z, t, text) = (randn([2, 4, 3, 8, 8]), tensor([3L, 900L]), randn([2, 5, 16]));
        var both = unet.call(z, t, text);
        for (int i = 0; i < 2; i++)
            Close.Assert(unet.call(z[i..(i + 1)], t[i..(i + 1)], text[i..(i + 1)]), both[i..(i + 1)], 1e-4, $"clip {i}");
    }
}
