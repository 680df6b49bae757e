using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Tests.Pipeline;

[TestClass]
public sealed class TrainingPicturesTests
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
    public void Fit_TrainingFolder_GetsEverything()
    {
        VideoClip Video(string? folder)
        {
            using var transformer = _tiny.Trainer(options =>
            {
                (options.TrainingFolder, options.Steps, options.SampleEvery, options.LearningRate) = (folder, 3, 2, 0.1);
                options.SamplePrompts = ["A red/ball: rolls\\", "zwölf"];
            }).Fit(_tiny.Clips());
            return TinyPipeline.Videos(transformer.Transform(_tiny.Prompts("a"))).Single();
        }

        TinyPipeline.AssertSame(Video(null), Video(_folder.Path));

        string[] left = [.. Directory.EnumerateFiles(_folder.Path, "*", SearchOption.AllDirectories)
            .Select(path => Path.GetRelativePath(_folder.Path, path).Replace('\\', '/')).Order(StringComparer.Ordinal)];
        foreach (string expected in new[]
        {
            "options.json", "sanity/first-batch.png", "sanity/first-batch.txt", "checkpoints/step-00000003/checkpoint.json",
            "samples/step-00000001.png", "samples/step-00000001-1-a-red-ball-rolls.mp4", "samples/step-00000001-2-zwölf.mp4",
            "samples/step-00000002.png", "samples/step-00000002-1-a-red-ball-rolls.mp4", "samples/step-00000002-2-zwölf.mp4",
        })
            Assert.Contains(expected, left);
        Assert.HasCount(6, left.Where(path => path.StartsWith("samples/", StringComparison.Ordinal)).ToArray());
        Assert.HasCount(1, left.Where(path => path.StartsWith("cache/", StringComparison.Ordinal) && !path.StartsWith("cache/text/", StringComparison.Ordinal)).ToArray());
        Assert.HasCount(5, left.Where(path => path.StartsWith("cache/text/", StringComparison.Ordinal)).ToArray());   // four captions and none
        Assert.HasCount(1, left.Where(path => path.StartsWith("logs/events", StringComparison.Ordinal)).ToArray());

        string log = File.ReadAllText(_folder.File("logs/training.log"));
        foreach (string said in new[] { " of them trained (", "Z Step 1 is done after", "of their time for clips", "saved as" })
            Assert.Contains(said, log);

        string[] lines = File.ReadAllLines(_folder.File("sanity/first-batch.txt"));
        Assert.HasCount(2, lines);
        foreach (string line in lines)
            Assert.MatchesRegex(@"^2 frames of 16x16 at 8 frames/s: c·l·i·p \d$", line);
        var sample = VideoReader.Read(_folder.File("samples/step-00000002-2-zwölf.mp4"), new VideoReadOptions { FrameCount = 2, Width = 16, Height = 16, ShortClip = ShortClip.Refuse });
        Assert.AreEqual(2, sample.FrameCount);
        Assert.AreEqual(_folder.Path, TextToVideoTrainer.Options.Read(_folder.File("options.json")).TrainingFolder);
    }

    [TestMethod]
    public void Fit_FrameNoiseCorrelation_IsSavedWithTheModel()
    {
        using var transformer = _tiny.Untrained(options => options.FrameNoiseCorrelation = 0.5);
        using var plain = _tiny.Untrained();
        string path = _folder.File("model.zip");
        _tiny.ML.Model.Save(transformer, _tiny.Prompts("a").Schema, path);
        var loaded = _tiny.ML.Model.Load(path, out _);
        using var memory = loaded as IDisposable;
        var video = TinyPipeline.Videos(transformer.Transform(_tiny.Prompts("a"))).Single();
        TinyPipeline.AssertSame(video, TinyPipeline.Videos(loaded.Transform(_tiny.Prompts("a"))).Single());
        TinyPipeline.AssertOther(video, TinyPipeline.Videos(plain.Transform(_tiny.Prompts("a"))).Single());
    }

    [TestMethod]
    public void Fit_HistoryByTime_IsSavedWithTheModel()
    {
        using var transformer = _tiny.Trainer().Fit(_tiny.Clips());
        string path = _folder.File("model.zip");
        _tiny.ML.Model.Save(transformer, _tiny.Prompts("a").Schema, path);
        using var loaded = (TextToVideoTransformer)_tiny.ML.Model.Load(path, out _);
        Assert.HasCount(4, loaded.History.HeldOutByTime);
        for (int i = 0; i < 4; i++)
            CollectionAssert.AreEqual(transformer.History.HeldOutByTime[i].ToArray(), loaded.History.HeldOutByTime[i].ToArray());
    }
}
