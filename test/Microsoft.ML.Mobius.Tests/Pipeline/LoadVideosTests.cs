using Microsoft.ML.Data;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Tests.Pipeline;

[TestClass]
public sealed class LoadVideosTests
{
    private static readonly VideoReadOptions s_options = new()
    {
        FrameCount = 3, Width = 16, Height = 20, FrameRate = 2.5, ShortClip = ShortClip.Hold,
    };

    private readonly SmallVideos _videos = new();
    private readonly MLContext _ml = new(0);

    private sealed class Input
    {
        public string Path { get; set; } = "";
    }

    private sealed class Output
    {
        [VideoType]
        public VideoClip? Video { get; set; }
    }

    [TestCleanup]
    public void RemoveVideos() => _videos.Dispose();

    [TestMethod]
    public void Transform_Paths_GivesClips()
    {
        _videos.Clock("c.mkv", encoder: "-c:v ffv1");
        var data = _ml.Data.LoadFromEnumerable([new Input { Path = "c.mkv" }, new Input(), new Input { Path = _videos.PathOf("c.mkv") }]);
        var estimator = _ml.Transforms.LoadVideos("Video", "Path", s_options, _videos.Folder);

        var loaded = estimator.Fit(data).Transform(data);

        Assert.AreEqual(new VideoDataViewType(3, 20, 16), loaded.Schema["Video"].Type);
        var clips = loaded.GetColumn<VideoClip?>("Video").ToArray();
        Assert.AreEqual((3, 20, 16, 2.5), (clips[0]!.FrameCount, clips[0]!.Height, clips[0]!.Width, clips[0]!.FrameRate));
        Assert.IsNull(clips[1]);
        CollectionAssert.AreEqual(clips[0]!.Pixels.ToArray(), clips[2]!.Pixels.ToArray());
    }

    [TestMethod]
    public void Transform_ValueNotAskedFor_TouchesNoFile()
    {
        var data = _ml.Data.LoadFromEnumerable([new Input { Path = _videos.PathOf("later.mkv") }]);

        var loaded = _ml.Transforms.LoadVideos("Video", "Path").Fit(data).Transform(data);
        Assert.HasCount(1, loaded.GetColumn<string>("Path").ToArray());
        Assert.ThrowsExactly<FileNotFoundException>(() => loaded.GetColumn<VideoClip>("Video").ToArray());

        _videos.Clock("later.mkv", encoder: "-c:v ffv1");
        Assert.HasCount(1, loaded.GetColumn<VideoClip>("Video").ToArray());
    }

    [TestMethod]
    public void Transform_ValueAskedForTwice_ReadsTheFileOnce()
    {
        string path = _videos.Clock("c.mkv", encoder: "-c:v ffv1");
        var data = _ml.Data.LoadFromEnumerable([new Input { Path = path }]);
        var loaded = _ml.Transforms.LoadVideos("Video", "Path").Fit(data).Transform(data);
        using var cursor = loaded.GetRowCursor(loaded.Schema);
        var getter = cursor.GetGetter<VideoClip>(loaded.Schema["Video"]);
        VideoClip? first = null, second = null;

        Assert.IsTrue(cursor.MoveNext());
        getter(ref first!);
        File.Delete(path);
        getter(ref second!);

        Assert.AreSame(first, second);
    }

    [TestMethod]
    public void SaveAndLoad_KeepsEverything()
    {
        _videos.Clock("c.mkv", encoder: "-c:v ffv1");
        var data = _ml.Data.LoadFromEnumerable([new Input { Path = "c.mkv" }]);
        var model = _ml.Transforms.CopyColumns("Video", "Path").Append(_ml.Transforms.LoadVideos("Video", null, s_options, _videos.Folder)).Fit(data);
        string zip = _videos.PathOf("model.zip");
        _ml.Model.Save(model, data.Schema, zip);

        var other = new MLContext(1);
        var loaded = (TransformerChain<ITransformer>)other.Model.Load(zip, out _);

        var transformer = loaded.OfType<VideoLoadingTransformer>().Single();
        Assert.AreEqual(s_options, transformer.Options);
        Assert.AreEqual(_videos.Folder, transformer.VideoFolder);
        using var engine = other.Model.CreatePredictionEngine<Input, Output>(loaded);
        var expected = VideoReader.Read(_videos.PathOf("c.mkv"), s_options);
        CollectionAssert.AreEqual(expected.Pixels.ToArray(), engine.Predict(new Input { Path = "c.mkv" }).Video!.Pixels.ToArray());
    }

    [TestMethod]
    public void Fit_ColumnMissingOrOfAnotherType_SaysSo()
    {
        var data = _ml.Data.LoadFromEnumerable([new Output()]);

        var missing = Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => _ml.Transforms.LoadVideos("V", "Path").Fit(data));
        var wrong = Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => _ml.Transforms.LoadVideos("V", "Video").Fit(data));
        var start = _ml.Transforms.CopyColumns("Other", "Video");       // a chain checks by schema shapes
        Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => start.Append(_ml.Transforms.LoadVideos("V", "Path")).Fit(data));
        Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => start.Append(_ml.Transforms.LoadVideos("V", "Other")).Fit(data));

        StringAssert.Contains(missing.Message, "Could not find input column 'Path'");
        StringAssert.Contains(wrong.Message, "expected String, got Video");
    }

    [TestMethod]
    public void LoadVideos_BadOptionOrFolder_ThrowsAtOnce()
    {
        Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => _ml.Transforms.LoadVideos("V", options: new() { FrameCount = 0 }));
        Assert.ThrowsExactly<ArgumentException>(() => _ml.Transforms.LoadVideos("V", videoFolder: _videos.PathOf("none")));
    }
}
