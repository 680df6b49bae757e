using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Samples.Shapes;
using Microsoft.ML.Mobius.Shapes;
using Microsoft.ML.Mobius.Training;

namespace Microsoft.ML.Mobius.Tests.Cli;

[TestClass]
public sealed class EvaluateCommandTests
{
    private readonly SmallVideos _files = new();
    private readonly TinyPipeline _tiny = new();

    [ClassInitialize]
    public static void Start(TestContext _) => TinyPipeline.UseOneThread();

    [ClassCleanup]
    public static void End() => TinyPipeline.UseUsualThreads();

    [TestCleanup]
    public void RemoveFiles() => _files.Dispose();

    [TestMethod]
    public void Run_TwoModels_ComparesThemAndWritesOnePage()
    {
        string clips = Clips(8);
        using (var start = _tiny.Untrained())
        using (var trained = _tiny.Trainer(options => (options.Steps, options.LearningRate) = (3, 0.05)).Fit(_tiny.Clips()))
        {
            _tiny.ML.Model.Save(start, null, _files.PathOf("a.zip"));
            _tiny.ML.Model.Save(trained, null, _files.PathOf("b.zip"));
        }

        var found = Run("a.zip", "b.zip", clips, videos: "4");

        var losses = found["loss"]!.AsArray();
        Assert.HasCount(11, losses);
        foreach (var row in losses)
        {
            double Value(string name) => row![name]!.GetValue<double>();
            Assert.IsTrue(Value("lossLow") <= Value("loss") && Value("loss") <= Value("lossHigh"), row!.ToJsonString());
            Assert.AreEqual(Value("loss") - Value("against"), Value("difference"), 1e-5);
        }
        Assert.AreNotEqual(0, losses[10]!["difference"]!.GetValue<double>());
        Assert.HasCount(3, found["pixels"]!.AsArray());
        Assert.IsNull(found["attributes"]);
        Assert.HasCount(3, found["frechetDistanceOnRandomFeatures"]!.AsArray());
        var written = CaptionedClip.ReadFolder($"{found["videos"]![1]}");
        CollectionAssert.AreEqual(new[] { "a test 0", "a test 1", "a test 2", "a test 3" }, written.Select(video => video.Caption).ToArray());
        string page = File.ReadAllText($"{found["report"]}");
        foreach (string part in new[] { "<svg viewBox=\"0 0 760 380\"", "data:image/png;base64,", "fixed random 3D features", "the floor", "Flicker and motion" })
            Assert.Contains(part, page);
        Assert.DoesNotContain("src=\"http", page);

        var same = Run("a.zip", "a.zip", clips, videos: "0");
        Assert.AreEqual(0, same["loss"]![10]!["difference"]!.GetValue<double>());
        Assert.AreEqual(found["loss"]![10]!["loss"]!.GetValue<double>(), same["loss"]![10]!["loss"]!.GetValue<double>());
        Assert.IsNull(same["pixels"]);
    }

    [TestMethod]
    public void Run_DrawnShapes_TellsWhatIsRight()
    {
        string clips = _files.PathOf("clips");
        ClipFolder.Write(clips, 6, seed: 1, [ShapeSpec.Trained[0], ShapeSpec.Trained[^1], ShapeSpec.NeverTrained[0]]);
        using (var large = _tiny.Untrained(options => (options.FrameCount, options.Height, options.Width) = (8, ShapeSpec.Height, ShapeSpec.Width)))
        using (var small = _tiny.Untrained())
        {
            _tiny.ML.Model.Save(large, null, _files.PathOf("a.zip"));
            _tiny.ML.Model.Save(small, null, _files.PathOf("b.zip"));
        }

        var found = Run("a.zip", "a.zip", clips, videos: "6");

        var rows = found["attributes"]!.AsArray();
        string[] models = ["clips", _files.PathOf("a.zip"), _files.PathOf("a.zip")], combinations = ["seen in training", "never trained"];
        CollectionAssert.AreEqual(models.SelectMany(_ => combinations).ToArray(), rows.Select(row => $"{row!["combinations"]}").ToArray());
        CollectionAssert.AreEqual(models, rows.Where((_, i) => i % 2 == 0).Select(row => $"{row!["of"]}").ToArray());
        CollectionAssert.AreEqual(new[] { 4, 2, 4, 2, 4, 2 }, rows.Select(row => row!["videos"]!.GetValue<int>()).ToArray());
        foreach (string attribute in new[] { "colour", "shape", "motion", "all" })
        {
            Assert.AreEqual(100, rows[0]![attribute]!.GetValue<double>(), attribute);
            Assert.AreEqual(100, rows[1]![attribute]!.GetValue<double>(), attribute);
        }
        Assert.AreEqual(0, rows[2]!["all"]!.GetValue<double>(), "nothing is learnt yet");
        Assert.Contains("<td>never trained</td><td>2</td><td>100 %</td>", File.ReadAllText($"{found["report"]}"));
        Assert.IsNull(Run("a.zip", "b.zip", clips, videos: "2")["attributes"], "the second makes another size");
    }

    [TestMethod]
    public void Run_OneClip_IsTooFew()
        => CommandRun.Of("evaluate", "--model", "m.zip", "--clips", Clips(1)).AssertFailed(1, "at least 2");

    private JsonObject Run(string model, string against, string clips, string videos) => CommandRun.Of(
        "evaluate", "--model", _files.PathOf(model), "--against", _files.PathOf(against), "--clips", clips, "--videos", videos,
        "--out", _files.PathOf("report"), "--json").Succeeded().Json;

    private string Clips(int count)
    {
        string folder = _files.PathOf("clips");
        Directory.CreateDirectory(folder);
        for (int i = 0; i < count; i++)
        {
            _files.Make($"-f lavfi -i testsrc2=s=16x16:r=8:d=1,hue=h={40 * i} clips/{i}.mp4");
            File.WriteAllText(Path.Combine(folder, $"{i}.txt"), $"a test {i}");
        }
        return folder;
    }
}
