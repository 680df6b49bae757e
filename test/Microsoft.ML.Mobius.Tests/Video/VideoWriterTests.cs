using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Tests.Video;

[TestClass]
public sealed class VideoWriterTests
{
    private readonly SmallVideos _videos = new();

    [TestCleanup]
    public void RemoveVideos() => _videos.Dispose();

    [TestMethod]
    [DataRow("out.mp4", 40.0)]
    [DataRow("out.gif", 28.0)]
    [DataRow("out.webp", 100.0)]
    [DataRow("out.png", 100.0)]
    public void Write_ThenRead_KeepsColoursAndTimes(string name, double floor)
    {
        var clip = SmallVideos.Gradient();
        VideoWriter.Write(_videos.PathOf(name), clip);

        var back = VideoReader.Read(_videos.PathOf(name), new VideoReadOptions { ShortClip = ShortClip.Refuse });

        double psnr = SmallVideos.Psnr(clip, back);
        Assert.IsTrue(psnr > floor, $"{psnr} dB");
    }

    [TestMethod]
    [DataRow("out.mp4")]
    [DataRow("out.gif")]
    [DataRow("out.webp")]
    [DataRow("out.png")]
    public void Write_Twice_GivesTheSameBytes(string name)
    {
        var clip = SmallVideos.Gradient();
        VideoWriter.Write(_videos.PathOf(name), clip);
        VideoWriter.Write(_videos.PathOf("second-" + name), clip);
        CollectionAssert.AreEqual(File.ReadAllBytes(_videos.PathOf(name)), File.ReadAllBytes(_videos.PathOf("second-" + name)));
    }

    [TestMethod]
    [DataRow("out.mp4", 1, 34, 22)]
    [DataRow("out.mp4", 3, 100, 64)]
    [DataRow("out.gif", 1, 33, 21)]
    [DataRow("out.webp", 1, 33, 21)]
    [DataRow("out.png", 3, 99, 63)]
    public void Write_OddSize_IsMadeEvenWhereItMust(string name, int upscale, int width, int height)
    {
        string path = _videos.PathOf(name);
        VideoWriter.Write(path, SmallVideos.Gradient(2, 21, 33), upscale);
        Assert.AreEqual((width, height), Size(path));
    }

    [TestMethod]
    public void Write_Mp4_StartsFast()
    {
        string path = _videos.PathOf("out.mp4");
        VideoWriter.Write(path, SmallVideos.Gradient());
        var bytes = File.ReadAllBytes(path).AsSpan();
        Assert.IsTrue(bytes.IndexOf("moov"u8) < bytes.IndexOf("mdat"u8));
    }

    [TestMethod]
    public void Write_Gif_RepeatsForEverAtItsRate()
    {
        string path = _videos.PathOf("out.gif");
        VideoWriter.Write(path, SmallVideos.Gradient(8, 16, 16));

        var bytes = File.ReadAllBytes(path).AsSpan();
        ReadOnlySpan<byte> forEver = [.. "NETSCAPE2.0"u8, 3, 1, 0, 0];
        Assert.IsTrue(bytes.IndexOf(forEver) > 0);
        using var codec = SkiaSharp.SKCodec.Create(path);
        CollectionAssert.AreEqual(new[] { 120, 130, 120, 130, 120, 130, 120, 120 }, codec.FrameInfo.Select(f => f.Duration).ToArray());
    }

    [TestMethod]
    public void Write_ManyFrames_KeepsThemAll()
    {
        string path = _videos.PathOf("deep", "er.mp4");
        VideoWriter.Write(path, SmallVideos.Gradient(50, 16, 16, 25));
        VideoReader.Read(path, new VideoReadOptions { FrameCount = 50, FrameRate = 25, ShortClip = ShortClip.Refuse });
        CollectionAssert.AreEqual(new[] { path }, Directory.GetFileSystemEntries(Path.GetDirectoryName(path)!));
    }

    [TestMethod]
    [DataRow("out.avi")]
    [DataRow("out")]
    public void Write_OtherExtension_NamesTheSupportedOnes(string name)
    {
        var e = Assert.ThrowsExactly<ArgumentException>(() => VideoWriter.Write(_videos.PathOf(name), SmallVideos.Gradient()));
        StringAssert.Contains(e.Message, ".mp4, .gif, .webp or .png");
    }

    [TestMethod]
    [DataRow("out.gif", 60.0)]
    [DataRow("out.webp", 120.0)]
    public void Write_FasterThanTheFormat_IsRefused(string name, double rate)
        => Assert.ThrowsExactly<ArgumentException>(() => VideoWriter.Write(_videos.PathOf(name), SmallVideos.Gradient(rate: rate)));

    [TestMethod]
    public void Write_WebpOf30FramesPerSecond_ShowsEveryFrameAtItsTime()
    {
        var clip = SmallVideos.Gradient(12, 16, 16, 30);
        VideoWriter.Write(_videos.PathOf("out.webp"), clip);
        var back = VideoReader.Read(_videos.PathOf("out.webp"),
            new VideoReadOptions { FrameCount = 12, FrameRate = 30, Height = 16, Width = 16, ShortClip = ShortClip.Refuse });
        Assert.IsTrue(clip.Pixels.Span.SequenceEqual(back.Pixels.Span));
    }

    [TestMethod]
    public void WriteFrames_TwiceThenBesideOthers_ReplacesItsOwnAndNothingElse()
    {
        string folder = _videos.PathOf("frames");
        VideoWriter.WriteFrames(folder, SmallVideos.Gradient(5, 6, 7));
        VideoWriter.WriteFrames(folder, SmallVideos.Gradient(3, 6, 7), upscale: 2);
        CollectionAssert.AreEqual(new[] { "000.png", "001.png", "002.png" }, Directory.GetFiles(folder).Select(Path.GetFileName).Order().ToArray());
        using (var second = SkiaSharp.SKBitmap.Decode(Path.Combine(folder, "001.png")))
        {
            Assert.AreEqual((14, 12), (second.Width, second.Height));
            Assert.AreEqual(new SkiaSharp.SKColor(255 * 3 / 7, 255 * 2 / 6, 255 / 3), second.GetPixel(7, 5));
        }

        File.WriteAllText(Path.Combine(folder, "mine.txt"), "");
        Assert.Contains("mine.txt", Assert.ThrowsExactly<IOException>(() => VideoWriter.WriteFrames(folder, SmallVideos.Gradient(1, 6, 7))).Message);
        Assert.HasCount(4, Directory.GetFiles(folder));
    }

    [TestMethod]
    public void Write_FolderCannotBe_NamesIt()
    {
        File.WriteAllText(_videos.PathOf("file"), "");
        var e = Assert.ThrowsExactly<IOException>(() => VideoWriter.Write(_videos.PathOf("file", "out.mp4"), SmallVideos.Gradient()));
        StringAssert.Contains(e.Message, _videos.PathOf("file"));
    }

    [TestMethod]
    public void Write_EncoderFails_NamesPathAndLeavesNothing()
    {
        string path = _videos.PathOf("out.mp4");
        var e = Assert.ThrowsExactly<IOException>(() => VideoWriter.Write(path, SmallVideos.Gradient(1, 1, 300), upscale: 60));   // too wide for H.264
        StringAssert.Contains(e.Message, path);
        Assert.IsEmpty(Directory.GetFileSystemEntries(_videos.Folder));
    }

    [TestMethod]
    public void Write_Cancelled_LeavesNothing()
    {
        using var cancel = new CancellationTokenSource(TimeSpan.FromMilliseconds(150));
        Assert.ThrowsExactly<OperationCanceledException>(
            () => VideoWriter.Write(_videos.PathOf("out.mp4"), SmallVideos.Gradient(600, 128, 128), upscale: 8, cancel.Token));
        Assert.IsEmpty(Directory.GetFileSystemEntries(_videos.Folder));
    }

    private static (int Width, int Height) Size(string path)
    {
        if (path.EndsWith(".webp", StringComparison.Ordinal))           // which ffprobe does not know
        {
            using var codec = SkiaSharp.SKCodec.Create(path);
            return (codec.Info.Width, codec.Info.Height);
        }
        using var process = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo(
            "ffprobe", ["-v", "error", "-show_entries", "stream=width,height", "-of", "csv=p=0", path]) { RedirectStandardOutput = true })!;
        var parts = process.StandardOutput.ReadToEnd().Trim().Split(',');
        return (int.Parse(parts[0]), int.Parse(parts[1]));
    }
}
