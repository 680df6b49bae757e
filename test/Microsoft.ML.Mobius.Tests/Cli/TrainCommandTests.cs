using Microsoft.ML.Mobius.Training;

namespace Microsoft.ML.Mobius.Tests.Cli;

[TestClass]
public sealed class TrainCommandTests
{
    private readonly SmallVideos _files = new();
    private readonly ModelFolders _models = new();
    private string _clips = "", _model = "";

    private string Out => _files.PathOf("out");

    [ClassInitialize]
    public static void Start(TestContext _) => TinyPipeline.UseOneThread();

    [ClassCleanup]
    public static void End() => TinyPipeline.UseUsualThreads();

    [TestInitialize]
    public void MakeClips()
    {
        _clips = _files.PathOf("clips");
        Directory.CreateDirectory(_clips);
        for (int i = 0; i < 4; i++)
        {
            _files.Clock($"clips/{i}.mp4");
            File.WriteAllText(Path.Combine(_clips, $"{i}.txt"), $"a clock {i}");
        }
        _model = _models.Video();
    }

    [TestCleanup]
    public void RemoveFiles()
    {
        _files.Dispose();
        _models.Dispose();
    }

    [TestMethod]
    public void Run_OptionFileAndOverrides_TrainsAndLeavesAllBehind()
    {
        new TextToVideoTrainer.Options { Steps = 9, BatchSize = 2, LearningRate = 1e-3, HeldOutFraction = 0.25, OffsetNoise = 0.05 }.Write(_files.PathOf("options.json"));

        var run = Train("--options", _files.PathOf("options.json"), "--steps", "2", "--seed", "4", "--json").Succeeded();

        Assert.AreEqual(2, run.Json["steps"]!.GetValue<int>());
        Assert.IsNotNull(run.Json["lastHeldOutLoss"]);
        Assert.Contains("Training 100%", run.Error);
        var used = TextToVideoTrainer.Options.Read(Path.Combine(Out, "options.json"));
        Assert.AreEqual((2, 2, 1e-3, 0.05, 4L, _model), (used.Steps, used.BatchSize, used.LearningRate, used.OffsetNoise, used.Seed, used.ModelPath));
        Assert.IsTrue(Directory.Exists(Path.Combine(Out, "checkpoints", "step-00000002")));
        var inspected = CommandRun.Of("inspect", Out, "--json").Succeeded().Json;
        Assert.AreEqual(2, inspected["training"]!["steps"]!.GetValue<int>());
        CommandRun.Of("generate", "--model", Out, "--prompt", "a clock", "--steps", "1", "--out", _files.PathOf("videos")).Succeeded();
    }

    [TestMethod]
    public void Run_InterruptedThenResumed_EndsAsTheUninterruptedRun()
    {
        string[] options = ["--steps", "6", "--batch-size", "2"];
        Train(options).Succeeded();
        byte[] expected = Weights();
        Directory.Delete(Out, recursive: true);

        var interrupted = CommandRun.Until("step 3/6", Arguments(options));
        Assert.AreEqual(130, interrupted.ExitCode, interrupted.Error);
        Assert.Contains("--resume goes on from there", interrupted.Error);
        Assert.IsFalse(File.Exists(Path.Combine(Out, "model.zip")));

        Train(options).AssertFailed(1, "has checkpoints already", "resume");
        CommandRun.Of("train", "--clips", _clips, "--out", Out, "--resume").Succeeded();
        CollectionAssert.AreEqual(expected, Weights());

        byte[] Weights() => File.ReadAllBytes(Path.Combine(Out, "checkpoints", "step-00000006", "weights.safetensors"));
    }

    [TestMethod]
    public void Run_WhatCannotBe_IsOneLine()
    {
        CommandRun.Of("train", "--clips", _files.PathOf("gone"), "--out", Out).AssertFailed(1, "gone");
        File.WriteAllText(_files.PathOf("wrong.json"), """{"stepss": 3}""");
        Train("--options", _files.PathOf("wrong.json")).AssertFailed(1, "wrong.json", "'stepss'");
        Train("--options", _files.PathOf("none.json")).AssertFailed(1, "none.json");
        CommandRun.Of("train", "--clips", _clips, "--out", Out, "--model", _files.PathOf("nothing"), "--quiet").AssertFailed(1, "nothing");
        Train("--frames", "3", "--layout", "sideways").AssertFailed(2, "'sideways'", "stream-parallel");
    }

    [TestMethod]
    public void ReadFolder_TableAndLines_GiveTheSameClipsInOrder()
    {
        File.WriteAllText(Path.Combine(_clips, "list.csv"), "Caption,Video\n\"one, two\",1.mp4\nthree,0.mp4\n");
        var clips = CaptionedClip.ReadFolder(_clips);
        CollectionAssert.AreEqual(new[] { ("1.mp4", "one, two"), ("0.mp4", "three") }, clips.Select(clip => (Path.GetFileName(clip.Clip), clip.Caption)).ToArray());
        File.WriteAllText(Path.Combine(_clips, "captions.jsonl"), """{"video": "2.mp4", "caption": "four"}""");
        Assert.AreEqual("four", CaptionedClip.ReadFolder(_clips).Single().Caption);
    }

    private CommandRun Train(params string[] options) => CommandRun.Of(Arguments(options));

    private string[] Arguments(string[] options) => ["train", "--clips", _clips, "--out", Out, "--model", _model, .. options];
}
