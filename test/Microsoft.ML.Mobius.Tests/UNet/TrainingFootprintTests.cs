using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.UNet;

[TestClass]
public sealed class TrainingFootprintTests
{
    [TestMethod]
    [DataRow(UNetLayout.Serial, 1, Lateral.Convolution, false)]
    [DataRow(UNetLayout.LayerParallel, 1, Lateral.Convolution, true)]
    [DataRow(UNetLayout.StreamParallel, 1, Lateral.Convolution, false)]
    [DataRow(UNetLayout.StreamParallel, 1, Lateral.Identity, true)]
    [DataRow(UNetLayout.StreamParallel, 2, Lateral.Convolution, true)]
    [DataRow(UNetLayout.StreamParallel, 1, Lateral.Convolution, true, 1)]
    [DataRow(UNetLayout.StreamParallel, 2, Lateral.Convolution, false, 1)]
    [DataRow(UNetLayout.StreamParallel, 1, Lateral.Identity, true, 2)]
    [DataRow(UNetLayout.StreamParallel, 2, Lateral.Convolution, true, 2)]
    [DataRow(UNetLayout.StreamParallel, 2, Lateral.Convolution, true, 1, Resampling.Pooling)]
    [DataRow(UNetLayout.StreamParallel, 1, Lateral.Identity, false, 0, Resampling.Pooling)]
    [DataRow(UNetLayout.StreamParallel, 4, Lateral.Convolution, true, 1, Resampling.Pooling, true)]
    [DataRow(UNetLayout.StreamParallel, 1, Lateral.Convolution, false, 2, Resampling.Convolution, true)]
    public void Parameters_AreThoseOfTheNetwork(
        UNetLayout layout, int divisor, Lateral lateral, bool told, int joined = 0, Resampling resampling = Resampling.Convolution, bool space = false)
    {
        var config = Tiny.UNet with
        {
            Layout = layout, TemporalWidthDivisor = divisor, JoinedLevels = joined, Lateral = lateral, TemporalText = told, FramePositions = told, CrossAttentionDim = 24, Resampling = resampling, TrainJoinedLevels = space,
        };
        AssertSame(config);
    }

    [TestMethod]
    [DataRow(1)]
    [DataRow(24)]
    [DataRow(31)]
    public void Parameters_OfNarrowTemporalLayers_AreThoseOfTheNetwork(int inner)
        => AssertSame(Tiny.UNet with { Layout = UNetLayout.Serial, TemporalInner = inner, TemporalText = inner == 24, CrossAttentionDim = 24 });

    [TestMethod]
    public void TemporalInner_Smaller_TakesLess()
    {
        var full = new TrainingFootprint(Tiny.UNet with { Layout = UNetLayout.Serial }, 1, 8, 16, 16, 77);
        var half = new TrainingFootprint(Tiny.UNet with { Layout = UNetLayout.Serial, TemporalInner = 16 }, 1, 8, 16, 16, 77);
        Assert.IsLessThan(full.Trained, half.Trained);
        Assert.IsLessThan(full.Peak(), half.Peak());
        Assert.AreEqual(full.Frozen, half.Frozen);
    }

    [TestMethod]
    public void Peak_WhatIsHeldUnused_CountsForActivationsAlone()
    {
        foreach (bool recompute in new[] { false, true })
        {
            var footprint = new TrainingFootprint(Tiny.UNet, 1, 8, 16, 16, 77, recompute);
            Assert.AreEqual(footprint.Peak(), footprint.Peak(0, ofKept: 1, ofRecomputed: 1));
            Assert.IsGreaterThan(footprint.Peak(), footprint.Peak(ofKept: 1.5, ofRecomputed: 1.5));
            Assert.IsLessThan(1.5 * footprint.Peak(gradientsBefore: 1_000_000_000), footprint.Peak(gradientsBefore: 1_000_000_000, ofKept: 1.5, ofRecomputed: 1.5));
        }
    }

    [TestMethod]
    public void Parameters_OfMotionModules_AreThoseOfTheNetwork()
    {
        foreach (bool middle in new[] { false, true })
            AssertSame(Tiny.UNet with { Layout = UNetLayout.Serial, Motion = new MotionConfig { Heads = 2, NormNumGroups = 4, Middle = middle } });
    }

    [TestMethod]
    public void Parameters_OfTextToVideo17B_AreThePublished()
    {
        var config = new UNetConfig
        {
            ClassName = "UNet3DConditionModel", Layout = UNetLayout.Serial, BlockOutChannels = [320, 640, 1280, 1280], AttentionHeadDim = 64,
            DownBlockTypes = ["CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"],
            UpBlockTypes = ["UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D"],
        };
        var footprint = new TrainingFootprint(config, 1, 8, 32, 32, 77);
        Assert.AreEqual(1_411_233_860, footprint.Frozen + footprint.Trained);
    }

    [TestMethod]
    public void Activations_GrowWithBatchAndFrames_AndAreLeastInStreamParallel()
    {
        long Of(UNetLayout layout, int batch = 1, int frames = 8) => new TrainingFootprint(Tiny.UNet with { Layout = layout }, batch, frames, 16, 16, 0).Activations;
        foreach (var layout in Enum.GetValues<UNetLayout>())
        {
            Assert.AreEqual(3 * Of(layout), Of(layout, batch: 3));
            Assert.AreEqual(2 * Of(layout), Of(layout, frames: 16));
        }
        Assert.IsLessThan(Of(UNetLayout.Serial), Of(UNetLayout.StreamParallel));
        Assert.IsLessThan(Of(UNetLayout.LayerParallel), Of(UNetLayout.Serial));
    }

    [TestMethod]
    public void Peak_HasAllActivationsAndAtLeastAllGradients()
    {
        var footprint = new TrainingFootprint(Tiny.UNet, 1, 8, 16, 16, 77);
        Assert.IsGreaterThanOrEqualTo(footprint.Activations, footprint.Peak());
        Assert.IsGreaterThanOrEqualTo(footprint.Trained, footprint.Peak());
        Assert.IsGreaterThan(footprint.Peak(), footprint.Peak(gradientsBefore: footprint.Trained));
    }

    [TestMethod]
    public void Peak_OfMoreThatIsKept_IsLarger()
    {
        TrainingFootprint Recomputed(int keptDepth, bool inBackward = false)
            => new(Tiny.UNet, 1, 8, 16, 16, 77, recompute: true) { KeptDepth = keptDepth, UpdatesInBackward = inBackward };
        long all = new TrainingFootprint(Tiny.UNet, 1, 8, 16, 16, 77) { UpdatesInBackward = true }.Activations;
        Assert.IsLessThan(Recomputed(1).Activations, Recomputed(int.MaxValue).Activations);
        Assert.IsLessThan(all, Recomputed(1).Activations);
        Assert.IsLessThanOrEqualTo(Recomputed(0).Peak(), Recomputed(1).Peak());
        TrainingFootprint OfOneFrame(bool inBackward) => new(Tiny.UNet, 1, 1, 4, 4, 0, recompute: true) { UpdatesInBackward = inBackward };
        Assert.IsLessThan(OfOneFrame(inBackward: false).Peak() / 2, OfOneFrame(inBackward: true).Peak());
        Assert.IsLessThan(Recomputed(1).Trained / 2, Recomputed(1, inBackward: true).Gradients);
    }

    [TestMethod]
    [DataRow(0, 1)]
    [DataRow(0, 2)]
    [DataRow(1, 2)]
    [DataRow(2, 1)]
    public void Narrow_IsWhatNoGradientCrosses(int joined, int divisor)
    {
        var config = Tiny.UNet with { JoinedLevels = joined, TemporalWidthDivisor = divisor };
        using var network = VideoUNet.Around(new SpatialStream(config), config);
        network.HoldSpatialStream(ScalarType.BFloat16);
        foreach (bool recompute in new[] { false, true })
        {
            TrainingFootprint usual = new(config, 1, 8, 16, 16, 77, recompute), halves = new(config, 1, 8, 16, 16, 77, recompute, halves: true);
            Assert.AreEqual(network.parameters().Where(p => p.dtype == ScalarType.BFloat16).Sum(p => p.numel()), halves.Narrow);
            Assert.AreEqual(0, usual.Narrow);
            Assert.AreEqual((usual.Frozen, usual.Trained), (halves.Frozen, halves.Trained));
        }
        long Activations(Lateral lateral, bool halves) => new TrainingFootprint(config with { Lateral = lateral }, 1, 8, 16, 16, 77, halves: halves).Activations;
        if (divisor == 1 && joined > 0)
            Assert.IsLessThan(Activations(Lateral.Identity, halves: false), Activations(Lateral.Identity, halves: true));
        Assert.IsGreaterThan(Activations(Lateral.Identity, halves: true), Activations(Lateral.Convolution, halves: true), "Laterals keep what they were given.");
        Assert.AreEqual(0, new TrainingFootprint(config with { Layout = UNetLayout.Serial }, 1, 8, 16, 16, 77, halves: true).Narrow);
    }

    [TestMethod]
    [DataRow(UNetLayout.Serial, false)]
    [DataRow(UNetLayout.LayerParallel, false)]
    [DataRow(UNetLayout.StreamParallel, true)]
    [DataRow(UNetLayout.StreamParallel, false)]
    public void Parameters_OfALora_AreThoseOfItsMatrices(UNetLayout layout, bool told)
    {
        var config = Tiny.UNet with { Layout = layout, TemporalText = told, CrossAttentionDim = 24, TemporalWidthDivisor = told ? 2 : 1 };
        AssertLora(config);
        AssertLora(Tiny.UNet with { Layout = UNetLayout.Serial, Motion = new MotionConfig { Heads = 2, NormNumGroups = 4, Middle = told } });
    }

    private static void AssertLora(UNetConfig config)
    {
        using var network = VideoUNet.Around(new SpatialStream(config), config);
        long all = network.parameters().Sum(parameter => parameter.numel());
        foreach (bool images in new[] { false, true })
        {
            using var generator = new Generator(1, CPU);
            using var lora = new TrainableLora(images ? network.SpatialAttentions() : network.TemporalLinears(), 3, 3, generator);
            var footprint = new TrainingFootprint(config, 1, 8, 16, 16, 77, loraRank: 3, images: images);
            Assert.AreEqual(lora.parameters().Sum(parameter => parameter.numel()), footprint.Trained, $"images: {images}");
            Assert.AreEqual(all, footprint.Frozen, $"images: {images}");
        }
    }

    private static void AssertSame(UNetConfig config)
    {
        static long Count(nn.Module module) => module.parameters().Sum(parameter => parameter.numel());

        using var network = VideoUNet.Around(new SpatialStream(config), config);
        var footprint = new TrainingFootprint(config, 1, 8, 16, 16, 77);
        Assert.AreEqual(Count(network.Spatial), footprint.Frozen, "frozen");
        Assert.AreEqual(Count(network.Temporal), footprint.Trained, "trained");
    }
}
