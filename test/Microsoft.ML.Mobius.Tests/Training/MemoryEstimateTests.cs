using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Text;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Training;

[TestClass]
public sealed class MemoryEstimateTests
{
    /// <summary>Weights, gradients and moments are known exactly before there is a model.</summary>
    [TestMethod]
    public void WeightsAndMoments_AreThoseOfTheModel()
    {
        var tiny = new TinyPipeline();
        var estimate = tiny.Trainer(options => options.EmaDecay = 0.9).EstimateMemory();
        using var model = tiny.Untrained();
        Assert.AreEqual(4 * (model.ParameterCount - model.TrainedParameterCount), estimate.FrozenWeights);
        Assert.AreEqual(4 * model.TrainedParameterCount, estimate.TrainedWeights);
        Assert.AreEqual(estimate.TrainedWeights, estimate.Gradients);
        Assert.AreEqual(2 * estimate.TrainedWeights, estimate.OptimizerMoments);
        Assert.AreEqual(estimate.TrainedWeights, estimate.Average);
        Assert.IsGreaterThan(estimate.FrozenWeights + 4 * estimate.TrainedWeights, estimate.PeakBytes);
        Assert.AreEqual(0, tiny.Trainer().EstimateMemory().Average);
    }

    [TestMethod]
    public void EstimateMemory_OfTheEmbeddedModel_OpensNothing()
    {
        var start = PretrainedModel.Embedded() with { Open = () => throw new AssertFailedException("The model was opened.") };
        var trainer = new TextToVideoTrainer(new MLContext(), new TextToVideoTrainer.Options(), start);
        var image = PretrainedModel.Embedded().Open();
        var (text, autoencoder) = (image.TextEncoder, image.Autoencoder);
        using (text)
        using (autoencoder)
        using (image.UNet)
            Assert.AreEqual(4 * (Count(text) + Count(autoencoder) + Count(image.UNet)), trainer.EstimateMemory().FrozenWeights);
    }

    [TestMethod]
    public void EstimateMemory_UnlessTold_RecomputesWhereItSavesMuchAndCostsLittle()
    {
        long Peak(bool? recompute, int batch, UNetLayout layout = UNetLayout.StreamParallel) => new TextToVideoTrainer(new MLContext(),
            new TextToVideoTrainer.Options { RecomputeActivations = recompute, BatchSize = batch, Layout = layout }).EstimateMemory().PeakBytes;

        Assert.AreEqual(Peak(false, batch: 8), Peak(null, batch: 8));
        Assert.IsLessThanOrEqualTo(Peak(true, batch: 64) * 6 / 5, Peak(null, batch: 64));
        Assert.IsLessThan(Peak(false, batch: 64), Peak(null, batch: 64));
        Assert.AreEqual(Peak(false, batch: 64, UNetLayout.Serial), Peak(null, batch: 64, UNetLayout.Serial));
    }

    [TestMethod]
    public void EstimateMemory_WithAdafactor_HasHardlyAnyMoments_AndFewGradientsWhereLayersAreRecomputed()
    {
        MemoryEstimate Estimate(Action<TextToVideoTrainer.Options> change)
        {
            var options = new TextToVideoTrainer.Options { Optimizer = OptimizerKind.Adafactor, RecomputeActivations = true, BatchSize = 1 };
            change(options);
            return new TextToVideoTrainer(new MLContext(), options).EstimateMemory();
        }
        var usual = Estimate(options => options.Optimizer = OptimizerKind.AdamW);
        var (lean, after, several) = (Estimate(_ => { }), Estimate(options => options.UpdateInBackward = false), Estimate(options => options.GradientAccumulationSteps = 2));
        Assert.IsLessThan(usual.OptimizerMoments / 50, lean.OptimizerMoments);
        Assert.IsLessThan(usual.Gradients / 2, lean.Gradients);
        Assert.AreEqual(usual.Gradients, after.Gradients);
        Assert.AreEqual(usual.Gradients, several.Gradients);
        Assert.IsLessThan(usual.PeakBytes - usual.OptimizerMoments * 9 / 10, lean.PeakBytes);
    }

    [TestMethod]
    public void EstimateMemory_MoreJoinedLevelsThanThereAre_NamesTheOption()
        => Assert.Contains("JoinedLevels is 3, but the U-Net has 2 levels", Assert.Throws<ArgumentException>(
            () => new TextToVideoTrainer(new MLContext(), new TextToVideoTrainer.Options { JoinedLevels = 3 }).EstimateMemory()).Message);

    [TestMethod]
    public void Fit_TellsTheEstimate()
    {
        var tiny = new TinyPipeline();
        tiny.Trainer().Fit(tiny.Clips()).Dispose();
        Assert.IsTrue(tiny.Logged("Info", "MiB at the peak"));
    }

    [TestMethod]
    [DataRow(new[] { 8 }, 1)]
    [DataRow(new[] { 8, 16, 16 }, 2)]
    public void AutoencoderParameters_AreThoseOfTheModule(int[] channels, int layers)
    {
        var config = new AutoencoderKlConfig { BlockOutChannels = channels, LayersPerBlock = layers, NormNumGroups = 4 };
        using var module = new AutoencoderKl(config);
        Assert.AreEqual(Count(module), config.ParameterCount());
    }

    [TestMethod]
    public void TextEncoderParameters_AreThoseOfTheModule()
    {
        var config = new ClipTextConfig { VocabSize = 50, HiddenSize = 16, IntermediateSize = 24, NumHiddenLayers = 3, NumAttentionHeads = 2 };
        using var module = new ClipTextModel(config);
        Assert.AreEqual(Count(module), config.ParameterCount());
    }

    /// <summary>Each in a process of its own; what glibc's allocator holds unused is in the estimate as it is on Linux.</summary>
    [TestMethod, TestCategory("Heavy")]
    [DataRow("serial")]
    [DataRow("serial-narrow")]
    [DataRow("layer-parallel")]
    [DataRow("stream-parallel")]
    [DataRow("stream-parallel-default")]
    [DataRow("stream-parallel-adafactor")]
    [DataRow("stream-parallel-default-without-recomputation")]
    [DataRow("stream-parallel-default-without-narrow-stream")]
    public void Peak_OfTheSmallArm_IsWithinATenthOfTheMeasured(string arm)
    {
        var (peak, estimated) = SmallMeasurement.Of(activity: 0, arm);
        Assert.AreEqual(peak, estimated, 0.1 * peak, $"{peak / (1 << 20):F0} MiB were measured, {estimated / (1 << 20):F0} MiB estimated.");
    }

    private static long Count(nn.Module module) => module.parameters().Sum(parameter => parameter.numel());
}
