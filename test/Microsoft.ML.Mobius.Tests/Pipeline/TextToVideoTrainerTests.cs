using System.Collections.Concurrent;
using Microsoft.ML.Data;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Sampling;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Video;
using Microsoft.ML.Mobius.Weights;

namespace Microsoft.ML.Mobius.Tests.Pipeline;

[TestClass]
public sealed class TextToVideoTrainerTests
{
    private readonly TinyPipeline _tiny = new();

    [ClassInitialize]
    public static void Start(TestContext _) => TinyPipeline.UseOneThread();

    [ClassCleanup]
    public static void End() => TinyPipeline.UseUsualThreads();

    [TestMethod]
    public void Fit_VideoColumn_TrainsAndReports()
    {
        var steps = new Steps();
        using var transformer = _tiny.Trainer(options => options.Progress = steps).Fit(_tiny.Clips());

        Assert.HasCount(2, transformer.History.Losses);
        CollectionAssert.AreEqual(new[] { 0, 2 }, transformer.History.HeldOut.Select(point => point.Step).ToArray());
        CollectionAssert.AreEqual(new[] { 1, 2 }, steps.Seen.Select(progress => progress.Step).ToArray());
        Assert.IsTrue(transformer.TrainedParameterCount > 0 && transformer.TrainedParameterCount < transformer.ParameterCount);
        foreach (string said in new[] { "parameters", "on cpu", "4 clips of 2 frames of 16x16", "Held-out loss", "peak memory" })
            Assert.IsTrue(_tiny.Logged("Info", said), said);
    }

    [TestMethod]
    public void Fit_SameSeed_GivesTheSameModel()
    {
        VideoClip Video(long seed)
        {
            using var transformer = _tiny.Trainer(options => (options.Seed, options.LearningRate) = (seed, 0.1)).Fit(_tiny.Clips());
            transformer.Generation = transformer.Generation with { Seed = 0 };
            return TinyPipeline.Videos(transformer.Transform(_tiny.Prompts("a"))).Single();
        }

        var first = Video(1);
        TinyPipeline.AssertSame(first, Video(1));
        TinyPipeline.AssertOther(first, Video(2));
    }

    [TestMethod]
    public void Fit_NoSeedOfItsOwn_TakesTheContexts()
    {
        using var seeded = _tiny.Untrained();
        using var unseeded = new TinyPipeline(seed: null).Untrained();
        Assert.AreEqual(3, seeded.Generation.Seed);
        Assert.AreEqual(0, unseeded.Generation.Seed);
    }

    [TestMethod]
    public void Fit_Paths_DecodesEachFileOnce()
    {
        using var videos = new SmallVideos();
        string path = videos.Clock("c.mkv", encoder: "-c:v ffv1");
        var steps = new Steps { At = _ => File.Delete(path) };      // a second look at the file would fail
        using var transformer = _tiny.Trainer(options => (options.ClipColumnName, options.Progress, options.Steps) = ("Path", steps, 4))
            .Fit(_tiny.View([.. Enumerable.Range(0, 3).Select(i => new TinyPipeline.Row { Caption = $"c{i}", Path = path })]));
        Assert.HasCount(4, transformer.History.Losses);
    }

    [TestMethod]
    public void Fit_ZeroSteps_NeedsNoClips()
    {
        var trainer = _tiny.Trainer(options => options.Steps = 0);
        using var transformer = trainer.Fit(_tiny.Prompts());
        Assert.IsEmpty(transformer.History.Losses);
        Assert.HasCount(1, TinyPipeline.Videos(transformer.Transform(_tiny.Prompts("a"))));
    }

    [TestMethod]
    [DataRow(UNetLayout.Serial, Lateral.Convolution, 1, true)]
    [DataRow(UNetLayout.LayerParallel, Lateral.Convolution, 1, true)]
    [DataRow(UNetLayout.StreamParallel, Lateral.Identity, 1, false)]
    [DataRow(UNetLayout.StreamParallel, Lateral.Convolution, 4, true)]
    public void Fit_EachLayout_Generates(UNetLayout layout, Lateral lateral, int divisor, bool told)
    {
        using var transformer = _tiny.Trainer(options =>
            (options.Layout, options.Lateral, options.TemporalWidthDivisor, options.TemporalText, options.FramePositions)
                = (layout, lateral, divisor, told, told))
            .Fit(_tiny.Clips(2));
        Assert.AreEqual(layout, transformer.Layout);
        Assert.AreEqual(16, TinyPipeline.Videos(transformer.Transform(_tiny.Prompts("a"))).Single().Width);
    }

    [TestMethod]
    public void Fit_EmptyView_Throws()
        => Assert.Contains("no rows", Assert.ThrowsExactly<InvalidOperationException>(() => _tiny.Trainer().Fit(_tiny.View())).Message);

    [TestMethod]
    [DataRow("")]
    [DataRow("  ")]
    public void Fit_EmptyCaption_NamesTheRow(string caption)
    {
        var clip = SmallVideos.Gradient(2, 16, 16);
        var rows = _tiny.View(new TinyPipeline.Row { Caption = "a", Clip = clip }, new TinyPipeline.Row { Caption = caption, Clip = clip });
        var error = Assert.ThrowsExactly<InvalidDataException>(() => _tiny.Trainer().Fit(rows));
        Assert.Contains("Row 1", error.Message);
        Assert.Contains("Caption", error.Message);
    }

    [TestMethod]
    public void Fit_ClipOfAnotherSize_NamesRowAndBothSizes()
    {
        var error = Assert.ThrowsExactly<InvalidDataException>(
            () => _tiny.Trainer().Fit(_tiny.View(new TinyPipeline.Row { Caption = "a", Clip = SmallVideos.Gradient(2, 16, 20) })));
        foreach (string part in new[] { "Row 0", "20x16", "16x16" })
            Assert.Contains(part, error.Message);
    }

    [TestMethod]
    public void Fit_NoClip_NamesTheRow()
        => Assert.Contains("Row 0", Assert.ThrowsExactly<InvalidDataException>(
            () => _tiny.Trainer().Fit(_tiny.View(new TinyPipeline.Row { Caption = "a" }))).Message);

    [TestMethod]
    [DataRow("", "empty")]
    [DataRow("nowhere.mp4", "does not exist")]
    public void Fit_PathThatCannotBeRead_NamesTheRow(string path, string said)
    {
        var error = Assert.ThrowsExactly<InvalidDataException>(() => _tiny.Trainer(options => options.ClipColumnName = "Path")
            .Fit(_tiny.View(new TinyPipeline.Row { Caption = "a", Path = path })));
        Assert.Contains("Row 0", error.Message);
        Assert.Contains(said, error.Message);
    }

    [TestMethod]
    [DataRow(ShortClip.Loop, "0 1 0 1 0")]
    [DataRow(ShortClip.Hold, "0 1 1 1 1")]
    public void Read_ShortVideo_IsContinued(ShortClip way, string frames)
    {
        var short2 = SmallVideos.Gradient(2, 16, 16);
        var clip = Read(short2, options => (options.FrameCount, options.ShortClip) = (5, way));
        int[] expected = [.. frames.Split(' ').Select(int.Parse)];
        Assert.AreEqual(5, clip.FrameCount);
        for (int k = 0; k < 5; k++)
            Assert.IsTrue(clip.Frame(k).SequenceEqual(short2.Frame(expected[k])), $"frame {k}");
    }

    [TestMethod]
    public void Read_LongVideo_GivesItsFirstFrames()
    {
        var long5 = SmallVideos.Gradient(5, 16, 16);
        var clip = Read(long5, _ => { });
        Assert.AreEqual(2, clip.FrameCount);
        Assert.IsTrue(clip.Frame(1).SequenceEqual(long5.Frame(1)));
    }

    [TestMethod]
    public void Read_ShortVideoRefused_Throws()
        => Assert.Contains("too short", Assert.ThrowsExactly<InvalidDataException>(
            () => Read(SmallVideos.Gradient(2, 16, 16), options => (options.FrameCount, options.ShortClip) = (3, ShortClip.Refuse))).Message);

    [TestMethod]
    public void Fit_LongCaptions_WarnsForTheFirstAndCountsAll()
    {
        var clip = SmallVideos.Gradient(2, 16, 16);
        using var transformer = _tiny.Trainer().Fit(_tiny.View(
            [.. Enumerable.Range(0, 5).Select(_ => new TinyPipeline.Row { Caption = new string('a', 90), Clip = clip })]));
        string[] warnings = [.. _tiny.Log.Where(line => line.StartsWith("Warning", StringComparison.Ordinal))];
        Assert.HasCount(4, warnings);
        foreach (string part in new[] { "Row 0", "90 tokens", "75" })
            Assert.Contains(part, warnings[0]);
        Assert.Contains("5 captions", warnings[3]);
    }

    [TestMethod]
    [DataRow("Nope", "Clip", "Nope")]
    [DataRow("Caption", "Nope", "Nope")]
    [DataRow("Seed", "Clip", "Seed")]
    [DataRow("Caption", "Seed", "Seed")]
    public void Fit_ColumnMissingOrOfAnotherType_SaysSoBeforeAnyWork(string input, string clip, string named)
    {
        var trainer = _tiny.Trainer(options => (options.InputColumnName, options.ClipColumnName) = (input, clip));
        var error = Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => trainer.Fit(_tiny.Clips()));
        Assert.Contains(named, error.Message);
        Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => trainer.GetOutputSchema(TinyPipeline.Shape(_tiny.Clips())));
        Assert.IsEmpty(_tiny.Log.Where(line => line.Contains("parameters", StringComparison.Ordinal)));
    }

    [TestMethod]
    public void Fit_NamedSeedAndNegativeColumns_AreChecked()
    {
        var clips = _tiny.Clips();
        Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => _tiny.Trainer(options => options.SeedColumnName = "Caption").Fit(clips));
        Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => _tiny.Trainer(options => options.NegativePromptColumnName = "Seed").Fit(clips));
    }

    [TestMethod]
    public void GetOutputSchema_AddsTheVideoColumn()
        => Assert.AreEqual(new VideoDataViewType(2, 16, 16),
            _tiny.Trainer().GetOutputSchema(TinyPipeline.Shape(_tiny.Clips())).Single(column => column.Name == "Video").ItemType);

    [TestMethod]
    public void Constructor_ManyBadOptions_NamesThemAllAtOnce()
    {
        var error = Assert.ThrowsExactly<ArgumentException>(() => _tiny.Trainer(options =>
        {
            options.OutputColumnName = "";
            options.ClipColumnName = "Caption";
            options.SeedColumnName = " ";
            options.NegativePrompt = null!;
            options.Layout = (UNetLayout)9;
            options.TemporalWidthDivisor = 3;
            options.Lateral = (Lateral)9;
            options.ShortClip = (ShortClip)9;
            (options.FrameCount, options.Height, options.Width, options.FrameRate) = (0, 18, 0, double.NaN);
            (options.BatchSize, options.LearningRate, options.WeightDecay, options.WarmupSteps) = (0, 0, -1, -1);
            (options.CaptionDropout, options.MaxGradientNorm, options.HeldOutFraction, options.EvaluateEvery) = (1.5, 0, 1, -1);
            (options.SamplingSteps, options.Sampler, options.GuidanceScale, options.GuidanceRescale) = (0, (SamplerKind)99, double.NaN, 1.5);
            (options.GradientAccumulationSteps, options.LearningRateSchedule, options.OffsetNoise, options.EmaDecay) = (0, (LearningRateSchedule)9, -1, 1);
            (options.SpatialFrameChunk, options.SpatialPrecision) = (-1, (SpatialPrecision)9);
            (options.InputPerturbation, options.NonFiniteStep, options.TensorBoardFolder) = (2, (NonFiniteStep)9, "");
            options.Loras = [new LoraSource("nowhere.safetensors"), null!];
            (options.FrameBuckets, options.FrameStride, options.Windows, options.WindowStride) = ([0], -1, 0, -1);
            (options.TrainingFolder, options.SanityFolder, options.SampleFolder, options.SampleEvery) = (" ", " ", " ", -1);
            (options.SamplePrompts, options.EarlyStopping, options.FrameNoiseCorrelation) = ([""], -1, 1);
            (options.BrokenClips, options.ClipSeconds, options.CacheFolder) = ((BrokenClip)9, -1, "");
            (options.CheckpointFolder, options.CheckpointEvery, options.CheckpointMinutes, options.CheckpointsKept) = (" ", -1, double.NaN, 0);
        }));
        foreach (string option in new[]
        {
            "OutputColumnName", "ClipColumnName", "SeedColumnName", "NegativePrompt", "Layout", "TemporalWidthDivisor", "Lateral", "ShortClip",
            "FrameCount", "Height is 18", "multiple of 4", "16 and 20", "Width is 0", "FrameRate", "BatchSize", "LearningRate", "WeightDecay",
            "WarmupSteps", "CaptionDropout", "MaxGradientNorm", "HeldOutFraction", "EvaluateEvery", "SamplingSteps", "Sampler is 99", "GuidanceScale",
            "GuidanceRescale",
            "GradientAccumulationSteps", "LearningRateSchedule", "OffsetNoise", "EmaDecay", "SpatialFrameChunk", "SpatialPrecision is 9",
            "InputPerturbation", "NonFiniteStep", "TensorBoardFolder", "Loras",
            "TrainingFolder", "SanityFolder", "SampleFolder", "SampleEvery", "SamplePrompts", "EarlyStopping", "FrameNoiseCorrelation",
            "FrameBuckets", "FrameStride", "Windows is 0", "WindowStride", "BrokenClips", "ClipSeconds", "CacheFolder",
            "CheckpointFolder", "CheckpointEvery", "CheckpointMinutes", "CheckpointsKept",
        })
            Assert.Contains(option, error.Message);
    }

    [TestMethod]
    public void Fit_MoreStepsThanTheSamplerTakes_ThrowsBeforeItTrains()
    {
        var steps = new Steps();
        var trainer = _tiny.Trainer(options => (options.Sampler, options.SamplingSteps, options.Progress) = (SamplerKind.Lcm, 51, steps));
        Assert.Contains("1 to 50", Assert.Throws<ArgumentException>(() => trainer.Fit(_tiny.Clips())).Message);
        Assert.IsEmpty(steps.Seen);
    }

    [TestMethod]
    public void Constructor_IdentityLateralOfAnotherWidth_Throws()
        => Assert.Contains("Identity", Assert.ThrowsExactly<ArgumentException>(() => _tiny.Trainer(
            options => (options.Lateral, options.TemporalWidthDivisor) = (Lateral.Identity, 2))).Message);

    [TestMethod]
    public void Constructor_OptionsChangedAfterwards_KeepsItsOwn()
    {
        var options = TinyPipeline.Options(options => options.Steps = 0);
        var trainer = new TextToVideoTrainer(_tiny.ML, options, TinyModel.Base);
        options.OutputColumnName = "Other";
        using var transformer = trainer.Fit(_tiny.Clips());
        Assert.AreEqual("Video", transformer.OutputColumnName);
    }

    [TestMethod]
    public void Fit_TokenCancelled_Stops()
    {
        using var cancel = new CancellationTokenSource();
        var steps = new Steps { At = _ => cancel.Cancel() };
        Assert.ThrowsExactly<OperationCanceledException>(() => _tiny.Trainer(options =>
            (options.Progress, options.CancellationToken, options.Steps) = (steps, cancel.Token, 100)).Fit(_tiny.Clips()));
        Assert.HasCount(1, steps.Seen);
    }

    private IDataView Unread()
    {
        static IEnumerable<TinyPipeline.Row> Rows()
        {
            Assert.Fail("A row was read.");
            yield break;
        }
        return _tiny.ML.Data.LoadFromEnumerable(Rows());
    }

    [TestMethod]
    [DataRow(nameof(TextToVideoTrainer.Options.CheckpointFolder))]
    [DataRow(nameof(TextToVideoTrainer.Options.TensorBoardFolder))]
    [DataRow(nameof(TextToVideoTrainer.Options.SanityFolder))]
    [DataRow(nameof(TextToVideoTrainer.Options.SampleFolder))]
    [DataRow(nameof(TextToVideoTrainer.Options.CacheFolder))]
    public void Fit_FolderThatCannotBeUsed_ThrowsBeforeAnyRowIsRead(string option)
    {
        using var folder = new TempFolder();
        string taken = folder.File("taken", [1]);
        var trainer = _tiny.Trainer(options => typeof(TextToVideoTrainer.Options).GetProperty(option)!.SetValue(options, taken));
        Assert.Contains(taken, Assert.ThrowsExactly<IOException>(() => trainer.Fit(Unread())).Message);
    }

    [TestMethod]
    public void Fit_FolderWithCheckpoints_ThrowsBeforeAnyRowIsRead()
    {
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder.File("step-00000007"));
        var trainer = _tiny.Trainer(options => options.CheckpointFolder = folder.Path);
        Assert.Contains("newest of step 7", Assert.ThrowsExactly<InvalidOperationException>(() => trainer.Fit(Unread())).Message);
    }

    [TestMethod]
    public void Constructor_ResumeWithoutFolder_Throws()
        => Assert.Contains("Resume", Assert.ThrowsExactly<ArgumentException>(() => _tiny.Trainer(options => options.Resume = true)).Message);

    [TestMethod]
    public void Fit_StoppedAndResumed_GivesTheModelOfAnUninterruptedRun()
    {
        using var folder = new TempFolder();
        using var cancel = new CancellationTokenSource();
        var steps = new Steps
        {
            At = progress =>
            {
                if (progress.Step == 2)
                    cancel.Cancel();
            },
        };
        VideoClip Video(Action<TextToVideoTrainer.Options>? change = null)
        {
            using var transformer = _tiny.Trainer(options =>
            {
                (options.Steps, options.LearningRate) = (4, 0.1);
                change?.Invoke(options);
            }).Fit(_tiny.Clips());
            Assert.HasCount(4, transformer.History.Losses);
            return TinyPipeline.Videos(transformer.Transform(_tiny.Prompts("a"))).Single();
        }

        Assert.ThrowsExactly<OperationCanceledException>(() => Video(
            options => (options.CheckpointFolder, options.Progress, options.CancellationToken) = (folder.Path, steps, cancel.Token)));
        TinyPipeline.AssertSame(Video(), Video(options => (options.CheckpointFolder, options.Resume) = (folder.Path, true)));
        Assert.IsTrue(_tiny.Logged("Info", "Resumed after step 2"));
    }

    [TestMethod]
    public void Fit_ContextCancelled_Stops()
    {
        var steps = new Steps { At = _ => _tiny.Cancel() };
        Assert.ThrowsExactly<OperationCanceledException>(
            () => _tiny.Trainer(options => (options.Progress, options.Steps) = (steps, 100)).Fit(_tiny.Clips()));
        Assert.HasCount(1, steps.Seen);
    }

    [TestMethod]
    public void Fit_PathsButNoFfmpeg_SaysSoBeforeReadingAnything()
    {
        string? before = Environment.GetEnvironmentVariable("PATH");
        try
        {
            Environment.SetEnvironmentVariable("PATH", AppContext.BaseDirectory);
            var trainer = _tiny.Trainer(options => options.ClipColumnName = "Path");
            var error = Assert.ThrowsExactly<InvalidOperationException>(() => trainer.Fit(_tiny.Clips()));
            Assert.Contains("ffmpeg", error.Message);
        }
        finally
        {
            Environment.SetEnvironmentVariable("PATH", before);
        }
    }

    [TestMethod]
    public void Fit_Failing_FreesTheModel()
    {
        TextToImageModel? image = null;
        var start = new PretrainedModel(TinyModel.Factor, () => image = TinyModel.Image());
        var trainer = new TextToVideoTrainer(_tiny.ML, TinyPipeline.Options(), start);
        Assert.ThrowsExactly<InvalidDataException>(() => trainer.Fit(_tiny.View(new TinyPipeline.Row { Caption = "a" })));
        Assert.IsTrue(image!.UNet.parameters().All(parameter => parameter.IsInvalid));
    }

    [TestMethod]
    public void Dispose_OfTheTransformer_FreesTheModel()
    {
        TextToImageModel? image = null;
        var start = new PretrainedModel(TinyModel.Factor, () => image = TinyModel.Image());
        var trainer = new TextToVideoTrainer(_tiny.ML, TinyPipeline.Options(), start);
        trainer.Fit(_tiny.Clips()).Dispose();
        foreach (TorchSharp.torch.nn.Module part in new TorchSharp.torch.nn.Module[] { image!.UNet, image.TextEncoder, image.Autoencoder })
            Assert.IsTrue(part.parameters().All(parameter => parameter.IsInvalid), part.GetName());
    }

    [TestMethod]
    public void Fit_GpuThatIsNotThere_ThrowsOrWarns()
    {
        if (TorchSharp.torch.cuda.is_available())
            Assert.Inconclusive("There is a GPU.");
        _tiny.ML.GpuDeviceId = 0;
        Assert.ThrowsExactly<InvalidOperationException>(() => _tiny.Untrained());

        _tiny.ML.FallbackToCpu = true;
        using var transformer = _tiny.Untrained();
        Assert.IsTrue(_tiny.Logged("Warning", "GPU 0"));
    }

    private VideoClip Read(VideoClip clip, Action<TextToVideoTrainer.Options> change)
    {
        using var rows = new TinyRows(_tiny, change);
        return rows.Read(new TinyPipeline.Row { Caption = "a", Clip = clip }).Single().Clips.Single();
    }

    private sealed class Steps : IProgress<TrainingProgress>
    {
        public ConcurrentQueue<TrainingProgress> Seen { get; } = [];

        public Action<TrainingProgress>? At { get; init; }

        public void Report(TrainingProgress value)
        {
            Seen.Enqueue(value);
            At?.Invoke(value);
        }
    }
}
