using Microsoft.ML.Data;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Tests.Pipeline;

[TestClass]
public sealed class SaveVideosTests
{
    private readonly SmallVideos _videos = new();
    private readonly MLContext _ml = new(0);

    private sealed class Input
    {
        public string Name { get; set; } = "";

        [VideoType]
        public VideoClip? Video { get; set; }
    }

    private sealed class Output
    {
        public string? File { get; set; }
    }

    [TestCleanup]
    public void RemoveVideos() => _videos.Dispose();

    [TestMethod]
    public void Transform_NoNames_NumbersTheRows()
    {
        var saved = Save(Rows("a", "b", "c"), null);

        var paths = saved.GetColumn<string>("File").ToArray();

        CollectionAssert.AreEqual(new[] { Out("000.mp4"), Out("001.mp4"), Out("002.mp4") }, paths);
        Assert.AreEqual(2, VideoReader.Read(paths[2], new() { FrameCount = 2, ShortClip = ShortClip.Refuse }).FrameCount);
    }

    [TestMethod]
    public void Transform_NameColumn_NamesTheFiles()
    {
        var paths = Save(Rows("a cat", "b.MP4", "v1.0"), "Name").GetColumn<string>("File").ToArray();
        CollectionAssert.AreEqual(new[] { Out("a cat.mp4"), Out("b.MP4"), Out("v1.0.mp4") }, paths);
        Assert.IsTrue(paths.All(File.Exists));
    }

    [TestMethod]
    public void Transform_NullClip_IsLeftOut()
    {
        var rows = Rows("a", "b");
        rows[0].Video = null;
        CollectionAssert.AreEqual(new[] { "", Out("001.gif") }, Save(rows, null, VideoFileFormat.Gif).GetColumn<string>("File").ToArray());
        Assert.HasCount(1, Directory.GetFiles(Out("")));
    }

    [TestMethod]
    public void Transform_ShuffledRows_KeepTheirNumbers()
    {
        string clock = _videos.Clock("c.mkv", encoder: "-c:v ffv1");
        var rows = "abcdef".Select(letter => new { Name = letter.ToString(), Path = clock });
        var data = _ml.Data.ShuffleRows(_ml.Data.LoadFromEnumerable(rows), seed: 3);

        var saved = _ml.Transforms.LoadVideos("Video", "Path")
            .Append(_ml.Transforms.SaveVideos("File", "Video", Out(""))).Fit(data).Transform(data);

        var seen = saved.GetColumn<string>("Name").Zip(saved.GetColumn<string>("File")).ToArray();
        Assert.AreNotEqual("abcdef", string.Concat(seen.Select(row => row.First)));
        foreach (var (name, path) in seen)
            Assert.AreEqual(Out($"00{name[0] - 'a'}.mp4"), path);
    }

    [TestMethod]
    public void Transform_PathNotAskedFor_WritesNothing()
    {
        Assert.HasCount(2, Save(Rows("a", "b"), null).GetColumn<string>("Name").ToArray());
        Assert.IsFalse(Directory.Exists(Out("")));
    }

    [TestMethod]
    public void Transform_PathAskedForTwice_WritesOnce()
    {
        var saved = Save(Rows("a"), null);
        using var cursor = saved.GetRowCursor(saved.Schema);
        var getter = cursor.GetGetter<ReadOnlyMemory<char>>(saved.Schema["File"]);
        ReadOnlyMemory<char> path = default;
        cursor.MoveNext();
        getter(ref path);
        File.Delete(path.ToString());
        getter(ref path);
        Assert.IsFalse(File.Exists(Out("000.mp4")));
    }

    [TestMethod]
    [DataRow("same", "same", "must differ")]
    [DataRow("a", "../b", "'../b' in column 'Name'")]
    [DataRow("a", "", "'' in column 'Name'")]
    public void Transform_BadNames_SaysWhich(string first, string second, string message)
    {
        var saved = Save(Rows(first, second), "Name");
        StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(() => saved.GetColumn<string>("File").ToArray()).Message, message);
    }

    [TestMethod]
    public void SaveAndLoad_PredictionEngine_CountsOn()
    {
        var data = _ml.Data.LoadFromEnumerable(Rows("a"));
        string zip = _videos.PathOf("model.zip");
        _ml.Model.Save(_ml.Transforms.SaveVideos("File", "Video", Out(""), VideoFileFormat.Gif).Fit(data), data.Schema, zip);

        var other = new MLContext(1);
        var model = other.Model.Load(zip, out _);
        using var engine = other.Model.CreatePredictionEngine<Input, Output>(model);

        Assert.AreEqual(Out("000.gif"), engine.Predict(Rows("a")[0]).File);
        Assert.AreEqual(Out("001.gif"), engine.Predict(Rows("a")[0]).File);
        Assert.IsTrue(File.Exists(Out("001.gif")));
    }

    [TestMethod]
    public void SaveAndLoad_KeepsNameColumn()
    {
        var data = _ml.Data.LoadFromEnumerable(Rows("a"));
        string zip = _videos.PathOf("model.zip");
        _ml.Model.Save(_ml.Transforms.SaveVideos("File", "Video", Out(""), fileNameColumn: "Name").Fit(data), data.Schema, zip);

        var model = _ml.Model.Load(zip, out _);
        using var engine = _ml.Model.CreatePredictionEngine<Input, Output>(model);

        Assert.AreEqual(Out("x.mp4"), engine.Predict(Rows("x")[0]).File);
        Assert.AreEqual(Out("x.mp4"), engine.Predict(Rows("x")[0]).File);
    }

    [TestMethod]
    public void Fit_ColumnMissingOrOfAnotherType_SaysSo()
    {
        var data = _ml.Data.LoadFromEnumerable(Rows("a"));
        var start = _ml.Transforms.CopyColumns("Other", "Name");        // a chain checks by schema shapes

        foreach (var (estimator, message) in new[]
        {
            (_ml.Transforms.SaveVideos("F", "Clip", "out"), "Could not find input column 'Clip'"),
            (_ml.Transforms.SaveVideos("F", "Name", "out"), "expected Video, got String"),
            (_ml.Transforms.SaveVideos("F", "Video", "out", fileNameColumn: "Video"), "expected String, got Video"),
        })
        {
            StringAssert.Contains(Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => estimator.Fit(data)).Message, message);
            StringAssert.Contains(Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => start.Append(estimator).Fit(data)).Message, message);
        }
        start.Append(_ml.Transforms.SaveVideos("F", "Video", "out")).Append(_ml.Transforms.CopyColumns("G", "F")).Fit(data);
    }

    private string Out(string name) => Path.Combine(_videos.Folder, "out", name);

    private static Input[] Rows(params string[] names)
        => [.. names.Select(name => new Input { Name = name, Video = SmallVideos.Gradient(2, 16, 16) })];

    private IDataView Save(Input[] rows, string? names, VideoFileFormat format = VideoFileFormat.Mp4)
    {
        var data = _ml.Data.LoadFromEnumerable(rows);
        return _ml.Transforms.SaveVideos("File", "Video", Out(""), format, names).Fit(data).Transform(data);
    }
}
