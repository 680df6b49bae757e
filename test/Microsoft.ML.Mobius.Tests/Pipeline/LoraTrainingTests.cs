using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Video;
using Microsoft.ML.Mobius.Weights;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Pipeline;

/// <summary>LoRAs that the trainer trains, from its options to the file and back.</summary>
[TestClass]
public sealed class LoraTrainingTests
{
    private readonly TinyPipeline _tiny = new();
    private readonly TempFolder _folder = new();

    [ClassInitialize]
    public static void Start(TestContext _) => TinyPipeline.UseOneThread();

    [ClassCleanup]
    public static void End() => TinyPipeline.UseUsualThreads();

    [TestCleanup]
    public void RemoveFolder() => _folder.Dispose();

    [TestMethod]
    public void Fit_TemporalLora_StartsFromAVideoModelAndIsWrittenAsAFile()
    {
        string model = Video(), zip = _folder.File("model.zip"), lora = _folder.File("lora.safetensors"), again = _folder.File("again.safetensors");
        using var fitted = Trainer(model, options =>
        {
            (options.TrainedPart, options.LoraRank, options.LoraAlpha) = (TrainedPart.TemporalLora, 2, 4);
            (options.Steps, options.LearningRate, options.EmaDecay) = (3, 0.05, 0.5);
        }).Fit(_tiny.Clips());

        fitted.SaveLora(lora);
        long count = 0;
        using (var file = WeightFile.Open(lora))
            foreach (var entry in file.Entries.Values)
            {
                StringAssert.StartsWith(entry.Name, "unet.");
                StringAssert.Matches(entry.Name, new(@"(temp_attentions|transformer_in)\..*\.lora_[AB]\.weight$"));
                count += entry.Shape.Aggregate(1L, (product, size) => product * size);
            }
        Assert.AreEqual(count, fitted.TrainedParameterCount);
        Assert.IsTrue(_tiny.Logged("Info", FormattableString.Invariant($"none of them trained, but {count:N0} of a LoRA of rank 2 on ")));

        using var applied = Trainer(model, options => (options.Steps, options.Loras) = (0, [new LoraSource(lora)])).Fit(_tiny.View());
        TinyPipeline.AssertSame(Only(fitted), Only(applied));
        using var plain = Trainer(model, options => options.Steps = 0).Fit(_tiny.View());
        TinyPipeline.AssertOther(Only(fitted), Only(plain));

        _tiny.ML.Model.Save(fitted, null, zip);
        using var loaded = (TextToVideoTransformer)_tiny.ML.Model.Load(zip, out _);
        TinyPipeline.AssertSame(Only(fitted), Only(loaded));
        Assert.AreEqual(count, loaded.TrainedParameterCount);
        loaded.SaveLora(again);
        CollectionAssert.AreEqual(File.ReadAllBytes(lora), File.ReadAllBytes(again));
    }

    /// <summary>The two stages of AnimateDiff: the look is learnt first, is there while motion is learnt, and may be left out in the end.</summary>
    [TestMethod]
    public void Fit_SpatialLoraThenTemporal_MayBeLeftOutAtGeneration()
    {
        string look = _folder.File("look.safetensors");
        using (var first = _tiny.Trainer(options => (options.TrainedPart, options.LoraRank, options.LearningRate) = (TrainedPart.SpatialLora, 2, 0.05)).Fit(_tiny.Clips()))
            first.SaveLora(look);

        using var second = _tiny.Trainer(options => (options.Loras, options.LearningRate) = ([new LoraSource(look, 0.5)], 0.05)).Fit(_tiny.Clips());
        Assert.AreEqual(0.5, second.Loras.Single().Scale);
        Assert.IsEmpty(second.Loras.Single().UnmatchedKeys);
        Assert.ThrowsExactly<InvalidOperationException>(() => second.SaveLora(look));

        var image = TinyModel.Image();
        using (image.UNet)
        using (image.TextEncoder)
        using (image.Autoencoder)
        using (var scope = NewDisposeScope())
        {
            double Apart() => second.Model.UNet.Spatial.parameters().Zip(image.UNet.parameters()).Max(pair => Close.Apart(pair.First, pair.Second));
            Assert.IsGreaterThan(1e-3, Apart());
            second.ApplyLora(look, scale: -0.5);
            Assert.IsLessThan(1e-6, Apart());
        }
    }

    [TestMethod]
    public void Constructor_OptionsThatDoNotGoTogether_AreAllNamed()
    {
        string Refusal(Action<TextToVideoTrainer.Options> change) => Assert.ThrowsExactly<ArgumentException>(() => _tiny.Trainer(change)).Message;

        string unused = Refusal(options => (options.LoraRank, options.LoraAlpha) = (8, 4));
        Assert.Contains("LoraRank is 8, but TrainedPart is Temporal", unused);
        Assert.Contains("LoraAlpha is 4, but TrainedPart is Temporal", unused);
        string wrong = Refusal(options => (options.TrainedPart, options.LoraRank, options.LoraAlpha, options.RecomputeActivations, options.ImageShare)
            = (TrainedPart.SpatialLora, 0, double.NaN, true, 0.5));
        foreach (string said in new[] { "LoraRank is 0", "LoraAlpha is NaN", "RecomputeActivations is true", "ImageShare is 0.5" })
            Assert.Contains(said, wrong);
        Assert.Contains("TrainedPart is 9", Refusal(options => options.TrainedPart = (TrainedPart)9));
        Assert.Contains("TemporalLora, but there are no temporal layers that have learnt", Refusal(options => options.TrainedPart = TrainedPart.TemporalLora));
        Assert.Contains("ZeroTerminalSnr is true, but PredictionType is Epsilon", Refusal(options => options.ZeroTerminalSnr = true));
        Assert.Contains("PredictionType is 9", Refusal(options => options.PredictionType = (PredictionType)9));
        Assert.Contains("ImageShare is 2", Refusal(options => options.ImageShare = 2));
    }

    [TestMethod]
    public void Fit_TemporalLoraOnANewTemporalHalf_IsRefused()
    {
        var trainer = Trainer(Video(), options => (options.TrainedPart, options.Layout, options.TemporalWidthDivisor, options.JoinedLevels)
            = (TrainedPart.TemporalLora, UNetLayout.StreamParallel, 4, 0));
        Assert.Contains("nothing that a LoRA could change", Assert.Throws<ArgumentException>(() => trainer.Fit(_tiny.Clips())).Message);
    }

    [TestMethod]
    [DataRow(TrainedPart.SpatialLora)]
    [DataRow(TrainedPart.TemporalLora)]
    public void EstimateMemory_OfALora_HasItsParametersAndLessThanTheWhole(TrainedPart part)
    {
        string model = Video();
        var trainer = Trainer(model, options => (options.TrainedPart, options.EmaDecay) = (part, 0.9));
        var estimate = trainer.EstimateMemory();
        using var fitted = trainer.Fit(_tiny.Clips());
        Assert.AreEqual(4 * fitted.TrainedParameterCount, estimate.TrainedWeights);
        Assert.AreEqual(estimate.TrainedWeights, estimate.Average);
        Assert.AreEqual(4 * fitted.ParameterCount, estimate.FrozenWeights);
        Assert.IsLessThan(Trainer(model, options => options.EmaDecay = 0.9).EstimateMemory().PeakBytes, estimate.PeakBytes);
    }

    [TestMethod]
    public void Fit_PredictionTypeAndZeroTerminalSnr_AreSavedWithTheModel()
    {
        using var fitted = _tiny.Untrained(options => (options.PredictionType, options.ZeroTerminalSnr) = (PredictionType.Velocity, true));
        string zip = _folder.File("model.zip");
        _tiny.ML.Model.Save(fitted, null, zip);
        using var loaded = (TextToVideoTransformer)_tiny.ML.Model.Load(zip, out _);
        Assert.AreEqual("v_prediction", loaded.Model.Schedule.Config.PredictionType);
        Assert.AreEqual(0, loaded.Model.Schedule.AlphaBar(loaded.Model.Schedule.Steps - 1));
        using var plain = _tiny.Untrained();
        Assert.AreEqual("epsilon", plain.Model.Schedule.Config.PredictionType);
        TinyPipeline.AssertOther(Only(plain), Only(loaded));
    }

    [TestMethod]
    public void Fit_FolderInUse_IsRefusedWhileTheOtherRunGoesOn()
    {
        foreach (bool training in new[] { true, false })
        {
            string folder = _folder.File($"run {training}"), refusal = "";
            void Name(TextToVideoTrainer.Options options)
                => (options.TrainingFolder, options.CheckpointFolder) = (training ? folder : null, training ? null : folder);
            using var fitted = _tiny.Trainer(options =>
            {
                Name(options);
                options.SampleEvery = 0;
                options.Progress = new Told(_ => refusal = Assert.ThrowsExactly<InvalidOperationException>(() => _tiny.Trainer(Name).Fit(_tiny.Clips())).Message);
            }).Fit(_tiny.Clips());
            Assert.Contains(folder, refusal);
            Assert.Contains("in use by another run", refusal);
            Assert.HasCount(2, fitted.History.Losses);
        }
    }

    [TestMethod]
    public void Fit_SecondStart_NeedsNoTextEncoder()
    {
        int Encoded(string? cache)
        {
            int calls = 0;
            var start = new PretrainedModel(TinyModel.Factor, () =>
            {
                var image = TinyModel.Image();
                image.TextEncoder.register_forward_hook((_, _, states) =>
                {
                    calls++;
                    return states;
                });
                return image;
            });
            new TextToVideoTrainer(_tiny.ML, TinyPipeline.Options(options => options.CacheFolder = cache), start).Fit(_tiny.Clips()).Dispose();
            return calls;
        }
        Assert.IsGreaterThan(2, Encoded(null));
        Assert.AreEqual(5, Encoded(_folder.File("cache")), "Each of four captions, and none, once.");
        Assert.AreEqual(0, Encoded(_folder.File("cache")));
        Assert.IsTrue(_tiny.Logged("Info", "the text encoder was not needed"));
    }

    /// <summary>A folder with a Serial video model whose temporal layers are not the identity.</summary>
    private string Video()
    {
        string folder = _folder.File("video");
        using var untrained = _tiny.Untrained(options => (options.Layout, options.TemporalText, options.FramePositions) = (UNetLayout.Serial, false, false));
        random.manual_seed(8);
        using (var scope = NewDisposeScope())
        using (no_grad())
            foreach (var parameter in untrained.Model.UNet.Temporal.parameters())
                parameter.add_(randn_like(parameter) * 0.05);
        untrained.SavePretrained(folder);
        return folder;
    }

    private TextToVideoTrainer Trainer(string model, Action<TextToVideoTrainer.Options> change) => new(_tiny.ML, TinyPipeline.Options(options =>
    {
        (options.ModelPath, options.Layout, options.TemporalWidthDivisor) = (model, null, null);
        change(options);
    }));

    private VideoClip Only(TextToVideoTransformer transformer) => TinyPipeline.Videos(transformer.Transform(_tiny.Prompts("a"))).Single();

    private sealed class Told(Action<TrainingProgress> at) : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value) => at(value);
    }
}
