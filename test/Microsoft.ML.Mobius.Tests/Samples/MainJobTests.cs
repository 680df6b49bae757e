using System.Text.Json;

namespace Microsoft.ML.Mobius.Tests.Samples;

/// <summary>The program behind build/run.sh, as it is used: from the command line.</summary>
[TestClass]
public sealed class MainJobTests
{
    private readonly SmallVideos _files = new();

    private string Out => _files.PathOf("out");

    [TestCleanup]
    public void RemoveFiles() => _files.Dispose();

    [TestMethod]
    public void FitAndGenerate_ClipsWithTextFiles_LeaveEverythingBehind()
    {
        string clips = Clips(3);
        File.WriteAllLines(_files.PathOf("prompts.txt"), ["a clock", "a red clock"]);

        Assert.AreEqual((0, ""), Job("fit", "--clips", clips, "--prompts", _files.PathOf("prompts.txt"), "--steps", "1"));
        Assert.AreEqual((0, ""), Job("generate", "--clips", clips, "--prompts", _files.PathOf("prompts.txt")));

        string[] expected = ["contact-sheet.png", "logs/events", "logs/training.log", "loss.png", "model.zip", "options.json", "summary.json", "videos/001.mp4", "videos/002.mp4"];
        CollectionAssert.AreEqual(expected, Left());
        Assert.AreEqual(1, TextToVideoTrainer.Options.Read(Path.Combine(Out, "options.json")).Steps);
        using var summary = JsonDocument.Parse(File.ReadAllText(Path.Combine(Out, "summary.json")));
        Assert.AreEqual(1, summary.RootElement.GetProperty("fit").GetProperty("steps").GetInt32());
        Assert.AreEqual(2, summary.RootElement.GetProperty("generation").GetProperty("videos").GetInt32());
    }

    [TestMethod]
    public void Fit_OptionsFileAndCache_AreUsedAndOverridden()
    {
        string clips = Clips(3), options = _files.PathOf("given.json"), cache = _files.PathOf("cache");
        File.WriteAllText(options, """{ "steps": 9, "frameCount": 2, "learningRate": 1e-4, "seed": 5, "batchSize": 2 }""");
        Assert.AreEqual((0, ""), Job("fit", "--clips", clips, "--options", options, "--steps", "1", "--cache", cache));
        var used = TextToVideoTrainer.Options.Read(Path.Combine(Out, "options.json"));
        Assert.AreEqual((1, 2, 1e-4, 5L, 2, cache), (used.Steps, used.FrameCount, used.LearningRate, used.Seed, used.BatchSize, used.CacheFolder));
        Assert.HasCount(1, Directory.GetFiles(cache));                                   // the clips are all alike
    }

    [TestMethod]
    public void Fit_OptionsFileWithFiveMistakes_NamesThemAll()
    {
        string options = _files.PathOf("given.json");
        File.WriteAllText(options, """{ "stepz": 9, "batchSize": 0, "layout": "sideways", "emaDecay": 1, "learningRate": "fast" }""");
        Fails(["given.json", "'stepz' is no option", "BatchSize is 0", "'layout' is", "EmaDecay is 1", "'learningRate' is"],
            "fit", "--clips", Clips(1), "--options", options);
    }

    [TestMethod]
    public void OptionsFiles_BesideTheJob_CanBeUsed()
    {
        string[] files = Directory.GetFiles(Path.Combine(Shared.RepositoryRoot, "samples", "MainJob"), "*.json");
        Assert.IsNotEmpty(files);
        foreach (string file in files)
            Assert.IsNotNull(TextToVideoTrainer.Options.Read(file).TrainingFolder, file);
    }

    [TestMethod]
    public void Fit_ClipMissing_SaysWhich()
    {
        string clips = Clips(1);
        File.WriteAllText(Path.Combine(clips, "captions.jsonl"), """
            {"video": "0.mp4", "caption": "a clock"}
            {"video": "gone.mp4", "caption": "a clock"}
            """);
        Fails(["captions.jsonl:2", "gone.mp4"], "fit", "--clips", clips);
    }

    [TestMethod]
    public void Fit_ClipThatIsNoVideo_SaysWhich()
    {
        string clips = Clips(1);
        File.WriteAllText(Path.Combine(clips, "1.mp4"), "not a video");
        File.WriteAllText(Path.Combine(clips, "1.txt"), "a clock");
        Fails(["1.mp4"], "fit", "--clips", clips, "--steps", "1");
    }

    [TestMethod]
    public void Fit_CaptionEmpty_SaysWhich()
    {
        string clips = Clips(2);
        File.WriteAllText(Path.Combine(clips, "1.txt"), " ");
        Fails(["1.txt", "empty"], "fit", "--clips", clips);
    }

    [TestMethod]
    public void Fit_UnknownLayout_SaysWhichAreKnown() => Fails(["'sideways'", "stream-parallel"], "fit", "--layout", "sideways");

    [TestMethod]
    public void Fit_ResumeWithoutCheckpoints_SaysWhatIsMissing() => Fails(["--resume needs", "--checkpoints"], "fit", "--resume");

    [TestMethod]
    public void Fit_IntervalWithoutCheckpoints_SaysWhatIsMissing()
        => Fails(["--checkpoint-every needs", "--checkpoints"], "fit", "--checkpoint-every", "5");

    [TestMethod]
    public void Fit_NoFfmpegOnThePath_SaysHowToInstallIt()
    {
        var (exitCode, _, error) = SecondProcess.Run(
            "Microsoft.ML.Mobius.Samples.MainJob.dll", ["fit", "--clips", Clips(1), "--out", Out], ("PATH", _files.Folder));
        Assert.AreNotEqual(0, exitCode);
        Assert.Contains("ffmpeg", error);
        Assert.Contains("nstall", error);
        Assert.IsEmpty(Left());
    }

    [TestMethod]
    public void Fit_OutIsAFile_SaysSo()
    {
        File.WriteAllText(Out, "");
        var (exitCode, error) = Job("fit", "--clips", Clips(1));
        Assert.AreNotEqual(0, exitCode);
        Assert.Contains($"'{Out}' cannot be written to", error);
    }

    [TestMethod]
    public void Generate_ForeignOrCutZip_SaysWhichFile()
    {
        string clips = Clips(2);
        File.WriteAllLines(_files.PathOf("prompts.txt"), ["a clock"]);
        Assert.AreEqual((0, ""), Job("fit", "--clips", clips, "--prompts", _files.PathOf("prompts.txt"), "--steps", "1"));
        string model = Path.Combine(Out, "model.zip");
        byte[] whole = File.ReadAllBytes(model);
        foreach (byte[] broken in (byte[][])[whole[..(whole.Length / 2)], "PK no zip"u8.ToArray()])
        {
            File.WriteAllBytes(model, broken);
            var (exitCode, error) = Job("generate", "--prompts", _files.PathOf("prompts.txt"));
            Assert.AreNotEqual(0, exitCode);
            Assert.Contains("model.zip", error);
            Assert.IsFalse(File.Exists(Path.Combine(Out, "videos", "001.mp4")));
        }
    }

    private (int ExitCode, string Error) Job(string command, params string[] options)
    {
        var (exitCode, _, error) = SecondProcess.Run("Microsoft.ML.Mobius.Samples.MainJob.dll", [command, "--out", Out, .. options]);
        return (exitCode, error);
    }

    private void Fails(string[] said, string command, params string[] options)
    {
        var (exitCode, error) = Job(command, options);
        Assert.AreNotEqual(0, exitCode);
        foreach (string part in said)
            Assert.Contains(part, error);
        Assert.DoesNotContain("   at ", error, "a stack trace");
        Assert.IsFalse(Left().Any(file => file.EndsWith(".zip") || file.EndsWith(".tmp")), string.Join(' ', Left()));
    }

    private string[] Left() => !Directory.Exists(Out) ? [] : [.. Directory.EnumerateFiles(Out, "*", SearchOption.AllDirectories)
        .Select(file => Path.GetRelativePath(Out, file).Replace('\\', '/'))
        .Select(file => file.StartsWith("logs/events", StringComparison.Ordinal) ? "logs/events" : file).Order(StringComparer.Ordinal)];

    private string Clips(int count)
    {
        Directory.CreateDirectory(_files.PathOf("clips"));
        for (int i = 0; i < count; i++)
        {
            _files.Clock($"clips/{i}.mp4");
            File.WriteAllText(_files.PathOf("clips", $"{i}.txt"), "a clock");
        }
        return _files.PathOf("clips");
    }
}
