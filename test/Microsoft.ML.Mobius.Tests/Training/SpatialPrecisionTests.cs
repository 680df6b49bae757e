using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Training;

[TestClass]
public sealed class SpatialPrecisionTests
{
    private static readonly TrainingSettings ThreeSteps = new() { Steps = 3, BatchSize = 2, WarmupSteps = 1, EvaluateEvery = 2, HeldOutFraction = 0.3 };

    private readonly TinyPipeline _tiny = new();

    [TestMethod]
    [DataRow(0)]
    [DataRow(1)]
    [DataRow(2)]
    public void Run_InSixteenBits_TrainsBesideRoundedWeights(int joined)
    {
        using var scope = NewDisposeScope();
        var (usual, _) = Run(joined, ThreeSteps, _ => { });
        var (rounded, weights) = Run(joined, ThreeSteps with { SpatialPrecision = SpatialPrecision.BFloat16 }, unet => Assert.IsTrue(
            unet.Temporal.parameters().All(p => p.dtype == ScalarType.Float32) && unet.Spatial.Mid().parameters().All(p => p.dtype == ScalarType.BFloat16)));
        foreach (var (expected, actual) in usual.Losses.Concat(usual.HeldOut).Zip(rounded.Losses.Concat(rounded.HeldOut)))
            Assert.AreEqual(expected.Loss, actual.Loss, 0.02 * expected.Loss);
        CollectionAssert.AreNotEqual(usual.Losses.ToArray(), rounded.Losses.ToArray());

        using var start = Model(joined);
        foreach (var (name, was) in start.UNet.Spatial.named_parameters())
        {
            bool narrow = !name.StartsWith("time_embedding", StringComparison.Ordinal) && !name.StartsWith("conv_norm_out", StringComparison.Ordinal)
                && !name.StartsWith("conv_out", StringComparison.Ordinal) && !Enumerable.Range(2 - joined, joined).Any(level => name.StartsWith($"up_blocks.{level}.", StringComparison.Ordinal));
            var @is = weights[name];
            Assert.AreEqual((ScalarType.Float32, false), (@is.dtype, @is.requires_grad), name);
            Assert.IsTrue(@is.equal(narrow ? was.to(ScalarType.BFloat16).to(ScalarType.Float32) : was).all().item<bool>(), name);
        }
    }

    [TestMethod]
    public void Run_InSixteenBitsRecomputedOrInChunks_GivesTheSameLosses()
    {
        using var scope = NewDisposeScope();
        var narrow = ThreeSteps with { SpatialPrecision = SpatialPrecision.BFloat16 };
        var (usual, _) = Run(1, narrow, _ => { });
        CollectionAssert.AreEqual(usual.Losses.ToArray(), Run(1, narrow, _ => { }).History.Losses.ToArray(), "Twice the same.");
        foreach (var settings in new[] { narrow with { RecomputeActivations = true }, narrow with { SpatialFrameChunk = 2 } })
            foreach (var (expected, actual) in usual.Losses.Zip(Run(1, settings, _ => { }).History.Losses))
                Assert.AreEqual(expected.Loss, actual.Loss, 0.01 * expected.Loss);
    }

    [TestMethod]
    public void Run_InSixteenBits_KeepsNoTensors()
    {
        using var model = Model(1);
        using var data = Tiny.Clips(model);
        var settings = ThreeSteps with { SpatialPrecision = SpatialPrecision.BFloat16 };
        int narrow = 0;
        TrainingLoop.Run(model, data, settings, _ => narrow = model.UNet.Spatial.parameters().Count(p => p.dtype == ScalarType.BFloat16));
        long before = Memory.Tensors();
        TrainingLoop.Run(model, data, settings);
        // TorchSharp goes on counting the tensor that a parameter was made of: one for each on the way to 16 bits, and one on the way back.
        Assert.AreEqual(before + 2 * narrow, Memory.Tensors());
    }

    [TestMethod]
    public void Identity_OfFloat32_IsThatOfARunWithoutTheOption()
    {
        using var model = Model(1);
        using var data = Tiny.Clips(model);
        Assert.IsFalse(RunIdentity.Of(model, data, ThreeSteps).ContainsKey("SpatialPrecision"));
        Assert.AreEqual("BFloat16", RunIdentity.Of(model, data, ThreeSteps with { SpatialPrecision = SpatialPrecision.BFloat16 })["SpatialPrecision"]);
    }

    [TestMethod]
    public void Fit_InSixteenBits_GivesAModelThatGeneratesAndIsSaved()
    {
        using var folder = new TempFolder();
        using var fitted = _tiny.Trainer(options => options.SpatialPrecision = SpatialPrecision.BFloat16).Fit(_tiny.Clips());
        var clip = fitted.Generate("clip 1");
        _tiny.ML.Model.Save(fitted, null, folder.File("model.zip"));
        using var loaded = (TextToVideoTransformer)_tiny.ML.Model.Load(folder.File("model.zip"), out _);
        TinyPipeline.AssertSame(clip, loaded.Generate("clip 1"));
    }

    [TestMethod]
    public void EstimateMemory_InSixteenBits_TakesHalfForTheSpatialStream()
    {
        MemoryEstimate Estimate(SpatialPrecision precision) => _tiny.Trainer(options => options.SpatialPrecision = precision).EstimateMemory();
        var (usual, narrow) = (Estimate(SpatialPrecision.Float32), Estimate(SpatialPrecision.BFloat16));
        Assert.IsLessThan(usual.FrozenWeights, narrow.FrozenWeights);
        Assert.AreEqual(narrow.FrozenWeights, Estimate(SpatialPrecision.Float16).FrozenWeights);
        Assert.AreEqual(usual.TrainedWeights, narrow.TrainedWeights);
    }

    [TestMethod]
    public void Fit_WhereItCannotBe_IsRefused()
    {
        string Refusal(Action<TextToVideoTrainer.Options> change) => Assert.Throws<ArgumentException>(() => _tiny.Trainer(options =>
        {
            options.SpatialPrecision = SpatialPrecision.Float16;
            change(options);
        }).Fit(_tiny.Clips())).Message;
        Assert.Contains("SpatialPrecision is Float16, but Layout is Serial", Refusal(options => options.Layout = UNetLayout.Serial));
        Assert.Contains("SpatialPrecision is Float16, but TrainedPart is SpatialLora", Refusal(options => options.TrainedPart = TrainedPart.SpatialLora));
        Assert.Contains("for a GPU alone", Refusal(_ => { }));
    }

    private static TextToVideoModel Model(int joined) => TextToVideoModel.From(Tiny.Image(), Tiny.UNet with { JoinedLevels = joined, TemporalWidthDivisor = 2 }, 7);

    private static (TrainingHistory History, Dictionary<string, Tensor> Spatial) Run(int joined, TrainingSettings settings, Action<VideoUNet> meanwhile)
    {
        using var model = Model(joined);
        using var data = Tiny.Clips(model);
        var history = TrainingLoop.Run(model, data, settings, _ => meanwhile(model.UNet));
        return (history, model.UNet.Spatial.named_parameters().ToDictionary(p => p.name, p => p.parameter.detach().clone()));
    }
}
