using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Sampling;
using Microsoft.ML.Mobius.Video;
using TorchSharp;

namespace Microsoft.ML.Mobius.Tests.Cli;

[TestClass]
public sealed class GenerateCommandTests
{
    private readonly TinyPipeline _tiny = new();
    private readonly TempFolder _files = new();

    private string Zip => _files.File("model.zip");

    private string Out => _files.File("out");

    [ClassInitialize]
    public static void Start(TestContext _) => TinyPipeline.UseOneThread();

    [ClassCleanup]
    public static void End() => TinyPipeline.UseUsualThreads();

    [TestInitialize]
    public void SaveModel()
    {
        using var model = _tiny.Untrained();
        _tiny.ML.Model.Save(model, _tiny.Prompts().Schema, Zip);
    }

    [TestCleanup]
    public void RemoveFiles() => _files.Dispose();

    [TestMethod]
    [DataRow("mp4", "a-fox-5.mp4")]
    [DataRow("gif", "a-fox-5.gif")]
    [DataRow("webp", "a-fox-5.webp")]
    [DataRow("png", "a-fox-5.png")]
    public void Run_EveryFormat_WritesAFileThatOpens(string format, string name)
    {
        Run("--prompt", "a fox", "--seed", "5", "--format", format).Succeeded();
        CollectionAssert.AreEqual(new[] { name }, Left());
        VideoReader.Read(Path.Combine(Out, name), Reading);
    }

    [TestMethod]
    public void Run_Frames_WritesAFolderOfThem()
    {
        Run("--prompt", "a fox", "--seed", "0", "--format", "frames").Succeeded();
        CollectionAssert.AreEqual(new[] { "000.png", "001.png" }, Directory.GetFiles(Path.Combine(Out, "a-fox-0")).Select(Path.GetFileName).Order().ToArray());
    }

    [TestMethod]
    public void Run_WithOptions_GivesTheVideoThatTheLibraryGives()
    {
        Run("--prompt", "a fox", "--format", "png", "--seed", "-3", "--steps", "3", "--guidance", "2", "--sampler", "ddim", "--eta", "0.5", "--negative", "dull")
            .Succeeded();
        using var model = (TextToVideoTransformer)_tiny.ML.Model.Load(Zip, out _);
        var how = model.Generation with
        {
            Seed = -3, SamplingSteps = 3, GuidanceScale = 2, Sampler = SamplerKind.Ddim, Eta = 0.5, NegativePrompt = "dull",
        };
        TinyPipeline.AssertSame(model.Generate("a fox", how), VideoReader.Read(Path.Combine(Out, "a-fox--3.png"), Reading));
    }

    [TestMethod]
    public void Run_LoopWeightsAndHeldFrame_GivesTheVideoThatTheLibraryGives()
    {
        string image = _files.File("first.png");
        VideoWriter.Write(image, SmallVideos.Gradient(1, TinyPipeline.Side, TinyPipeline.Side));
        Run("--prompt", "a (fox:1.4)", "--format", "png", "--seed", "2", "--frames", "5", "--loop", "--frame-window", "4", "--frame-overlap", "3", "--prompt-weights",
            "--source", image, "--hold-frames", "1", "--strength", "1", "--decode-rows", "8").Succeeded();
        using var model = (TextToVideoTransformer)_tiny.ML.Model.Load(Zip, out _);
        var how = model.Generation with
        {
            Seed = 2, FrameCount = 5, Loop = true, FrameWindow = 4, FrameOverlap = 3, PromptWeights = true, HeldFrames = 1, DecodeRows = 8,
        };
        var source = VideoReader.Read(image, Reading with { FrameCount = 1 });
        TinyPipeline.AssertSame(model.Generate("a (fox:1.4)", how, start: new() { Source = source }),
            VideoReader.Read(Directory.GetFiles(Out).Single(), Reading with { FrameCount = 5 }));
    }

    [TestMethod]
    public void Run_KeyFramesAndMeansToSave_GivesTheVideoThatTheLibraryGives()
    {
        Run("--prompt", "a fox", "--format", "png", "--seed", "2", "--frames", "5", "--key-frames", "3", "--guidance-in-turn", "--spatial-frame-chunk", "1",
            "--deep-cache-interval", "2").Succeeded();
        using var model = (TextToVideoTransformer)_tiny.ML.Model.Load(Zip, out _);
        var how = model.Generation with { Seed = 2, FrameCount = 5, KeyFrames = 3, GuidanceInTurn = true, SpatialFrameChunk = 1, DeepCacheInterval = 2 };
        TinyPipeline.AssertSame(model.Generate("a fox", how), VideoReader.Read(Directory.GetFiles(Out).Single(), Reading with { FrameCount = 5 }));
    }

    [TestMethod]
    public void Run_MemoryBudget_IsToldTheEstimateOrRefused()
    {
        var run = Run("--prompt", "a fox", "--format", "png", "--memory-budget", "4000").Succeeded();
        Assert.Contains("Generating takes about ", run.Error);
        var refused = Run("--prompt", "a fox", "--width", "1024", "--height", "1024", "--frames", "500", "--memory-budget", "1");
        Assert.AreNotEqual(0, refused.ExitCode);
        Assert.Contains("MemoryBudget is 1 MiB", refused.Error);
    }

    [TestMethod]
    public void Run_PromptFileAndSeveralPerPrompt_NamesThemBySeed()
    {
        File.WriteAllText(_files.File("prompts.txt"), "a fox\n\n  a cat \n");
        var run = Run("--prompts", _files.File("prompts.txt"), "--videos-per-prompt", "2", "--seed", "1", "--format", "gif", "--contact-sheet", "--json").Succeeded();
        CollectionAssert.AreEqual(new[] { "a-cat-1.gif", "a-cat-2.gif", "a-fox-1.gif", "a-fox-2.gif", "contact-sheet.png" }, Left());
        JsonObject[] videos = [.. run.Json["videos"]!.AsArray().Select(video => video!.AsObject())];
        CollectionAssert.AreEqual(new[] { ("a fox", 1L), ("a fox", 2L), ("a cat", 1L), ("a cat", 2L) },
            videos.Select(video => ($"{video["prompt"]}", video["seed"]!.GetValue<long>())).ToArray());
        Assert.IsTrue(videos.All(video => File.Exists($"{video["path"]}")));
        CollectionAssert.AreNotEqual(File.ReadAllBytes($"{videos[0]["path"]}"), File.ReadAllBytes($"{videos[1]["path"]}"));
    }

    [TestMethod]
    public void Run_NotATerminal_TellsInPlainLinesAndQuietlyNothing()
    {
        var run = Run("--prompt", "a fox", "--seed", "0", "--format", "gif").Succeeded();
        Assert.Contains("Generating 50%", run.Error);
        Assert.Contains("ETA", run.Error);
        Assert.DoesNotContain("\u001b", run.Error + run.Output);
        Assert.AreEqual(Path.Combine(Out, "a-fox-0.gif"), run.Output.Trim());
        var quiet = Run("--prompt", "a fox", "--format", "gif", "--quiet").Succeeded();
        Assert.AreEqual("", quiet.Error + quiet.Output);
    }

    [TestMethod]
    public void Run_Interrupted_LeavesWhatIsWholeAndEndsWith130()
    {
        var run = CommandRun.Until("video 2/", "generate", "--model", Zip, "--out", Out, "--prompt", "a fox", "--seed", "0", "--videos-per-prompt", "3", "--format", "gif",
            "--steps", "8");
        Assert.AreEqual(130, run.ExitCode);
        Assert.Contains("Interrupted. 1 of 3 videos are written", run.Error);
        CollectionAssert.AreEqual(new[] { "a-fox-0.gif" }, Left());
    }

    [TestMethod]
    public void Run_WeightsNotFinite_IsAnErrorAndNoVideo()
    {
        using (var model = (TextToVideoTransformer)_tiny.ML.Model.Load(Zip, out _))
        using (torch.no_grad())
        {
            foreach (var parameter in model.Model.Autoencoder.parameters())
                parameter.fill_(float.NaN);
            _tiny.ML.Model.Save(model, null, Zip);
        }
        var run = Run("--prompt", "a fox", "--quiet");
        run.AssertFailed(1, "not finite", "a fox");
        Assert.IsEmpty(Left());
    }

    [TestMethod]
    public void Run_OptionsThatTheModelCannot_AreRefused()
    {
        Run("--prompt", "a", "--width", "17").AssertFailed(2, "Width is 17", "16 and 20");
        Run("--prompt", "a", "--sampler", "lcm", "--steps", "51").AssertFailed(2, "1 to 50");
        Run("--prompt", "a", "--sampler", "euler", "--eta", "1").AssertFailed(2, "Eta");
        Run("--prompt", "a", "--frame-overlap", "2").AssertFailed(2, "FrameWindow is 0");
        Run("--prompt", "a", "--hold-frames", "1").AssertFailed(2, "no source");
        Run("--prompt", "a", "--source", _files.File("gone.mp4"), "--strength", "0.5").AssertFailed(1, "gone.mp4");
        Run().AssertFailed(2, "--prompt TEXT or --prompts FILE");
        Run("--prompts", _files.File("gone.txt")).AssertFailed(1, "gone.txt");
    }

    [TestMethod]
    public void Run_ModelThatIsNone_SaysWhich()
    {
        Directory.CreateDirectory(_files.File("empty"));
        Directory.CreateDirectory(_files.File("checkpoints/step-00000002"));
        File.WriteAllBytes(_files.File("cut.zip"), File.ReadAllBytes(Zip)[..2000]);
        Model("gone.zip").AssertFailed(1, "gone.zip", "does not exist");
        Model("empty").AssertFailed(1, "empty", "model_index.json");
        Model("checkpoints").AssertFailed(1, "checkpoints", "no model");
        Model("cut.zip").AssertFailed(1, "cut.zip", "not a whole saved model");

        CommandRun Model(string name) => CommandRun.Of("generate", "--model", _files.File(name), "--prompt", "a", "--out", Out, "--quiet");
    }

    private static VideoReadOptions Reading => new()
    {
        FrameCount = TinyPipeline.Frames, Height = TinyPipeline.Side, Width = TinyPipeline.Side, ShortClip = ShortClip.Refuse,
    };

    private CommandRun Run(params string[] options) => CommandRun.Of(["generate", "--model", Zip, "--out", Out, .. options]);

    private string[] Left() => !Directory.Exists(Out) ? []
        : [.. Directory.EnumerateFileSystemEntries(Out).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal)];
}
