using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Tests.Video;

[TestClass]
public sealed class VideoReaderTests
{
    private readonly SmallVideos _videos = new();

    [TestCleanup]
    public void RemoveVideos() => _videos.Dispose();

    [TestMethod]
    public void Read_SourceOf25FramesAtRate8_ShowsTheFrameOfEachTime()
    {
        string path = _videos.Clock("clock.mkv", encoder: "-c:v ffv1");

        var clip = VideoReader.Read(path, new VideoReadOptions { FrameCount = 16 });

        int[] expected = [.. Enumerable.Range(0, 16).Select(k => (int)(k / 8.0 * 25) * 5)];
        CollectionAssert.AreEqual(expected, SmallVideos.Middle(clip));
        Assert.AreEqual((16, 64, 64, 8.0, path), (clip.FrameCount, clip.Height, clip.Width, clip.FrameRate, clip.Source));
    }

    [TestMethod]
    public void Read_SlowSourceAtHigherRate_RepeatsFrames()
    {
        var clip = VideoReader.Read(_videos.Clock("clock.mkv", 4, "-c:v ffv1"), new VideoReadOptions { FrameCount = 8 });
        CollectionAssert.AreEqual(new[] { 0, 0, 5, 5, 10, 10, 15, 15 }, SmallVideos.Middle(clip));
    }

    [TestMethod]
    [DataRow("d.gif", "-filter_complex split[a][b];[a]palettegen[p];[b][p]paletteuse=dither=none -fps_mode vfr -final_delay 60")]
    [DataRow("d.webp", "-fps_mode vfr -c:v libwebp_anim -lossless 1")]
    public void Read_FramesOfUnequalDuration_KeepsTheirTimes(string name, string encoder)
    {
        _videos.Make("-f lavfi -i color=black:s=32x32:r=10:d=0.4,geq=r='N*60':g='N*60':b='N*60',format=rgb24 f%d.png");
        File.WriteAllText(_videos.PathOf("list.txt"),
            "file f1.png\nduration 0.12\nfile f2.png\nduration 0.48\nfile f3.png\nduration 0.2\nfile f4.png\nduration 0.2\nfile f4.png");
        string path = _videos.Make($"-f concat -i list.txt {encoder} {name}");

        var clip = VideoReader.Read(path, new VideoReadOptions { FrameCount = 10, FrameRate = 10 });

        int[] expected = [0, 0, 60, 60, 60, 60, 120, 120, 180, 180], got = SmallVideos.Middle(clip);
        for (int k = 0; k < expected.Length; k++)
            Assert.AreEqual(expected[k], got[k], 2, $"frame {k}");
    }

    [TestMethod]
    [DataRow("-c:v apng -f apng box.png", 240)]
    [DataRow("-c:v apng -plays 0 box.apng", 240)]
    [DataRow("-c:v libwebp_anim -lossless 1 box.webp", 240)]
    [DataRow("-c:v qtrle box.mov", 240)]
    [DataRow("-c:v libvpx-vp9 -lossless 1 box.webm", 180)]   // 4:2:0 mixes the colours of shown and hidden pixels
    [DataRow("-filter_complex split[a][b];[a]palettegen[p];[b][p]paletteuse box.gif", 240)]
    public void Read_TransparentGround_BecomesWhiteWithoutFringes(string encodeTo, int darkest)
    {
        var clip = VideoReader.Read(_videos.RedBoxOnNothing(encodeTo), new VideoReadOptions { FrameCount = 4, Width = 80, Height = 60 });

        for (int k = 0; k < clip.FrameCount; k++)
        {
            var frame = clip.Frame(k);
            for (int i = 0; i < frame.Length; i += 3)       // between white and red, red stays full: anything darker is a fringe
                Assert.IsTrue(frame[i] >= darkest && Math.Abs(frame[i + 1] - frame[i + 2]) <= 255 - darkest,
                    $"frame {k}, byte {i}: {frame[i]} {frame[i + 1]} {frame[i + 2]}");
            AssertPixel(frame, 80, 2, 2, 255, 255, 255);
            AssertPixel(frame, 80, 40, 30, 255, 0, 0);
        }
    }

    [TestMethod]
    [DataRow("t.webm", "-c:v libvpx-vp9 -crf 10 -b:v 0")]
    [DataRow("t.mov", "-c:v libx264 -crf 5 -pix_fmt yuv420p")]
    [DataRow("t.mp4", "-c:v mpeg4 -q:v 1")]
    [DataRow("t.webp", "-c:v libwebp_anim -lossless 1")]
    public void Read_EachFormat_GivesTheSamePicture(string name, string encoder)
    {
        const string Source = "-f lavfi -i testsrc2=s=64x64:r=8:d=1 ";
        var expected = VideoReader.Read(_videos.Make(Source + "-c:v ffv1 -pix_fmt gbrp exact.mkv"));
        var clip = VideoReader.Read(_videos.Make($"{Source} {encoder} {name}"));
        Assert.IsTrue(SmallVideos.Psnr(expected, clip) > 18, $"{SmallVideos.Psnr(expected, clip)} dB");     // chroma of hard edges is halved
    }

    [TestMethod]
    public void Read_WideSource_KeepsTheMiddleInShape()
    {
        string path = _videos.Make(             // red | green | blue, each 64x64
            "-f lavfi -i color=lime:s=192x64:r=8:d=1,format=gbrp,drawbox=x=0:w=64:h=64:c=red:t=fill," +
            "drawbox=x=128:w=64:h=64:c=blue:t=fill -c:v ffv1 w.mkv");

        var frame = VideoReader.Read(path, new VideoReadOptions { Width = 32, Height = 32 }).Frame(0);

        AssertPixel(frame, 32, 3, 16, 0, 255, 0);
        AssertPixel(frame, 32, 28, 16, 0, 255, 0);
    }

    [TestMethod]
    public void Read_TallTarget_FillsIt()
    {
        var clip = VideoReader.Read(_videos.Clock("c.mkv", encoder: "-c:v ffv1"), new VideoReadOptions { Width = 17, Height = 50 });
        Assert.AreEqual((17, 50), (clip.Width, clip.Height));
    }

    [TestMethod]
    public void Read_PixelsThatAreNotSquare_AreShownInShape()
    {
        string path = _videos.Make("-f lavfi -i color=lime:s=32x64:r=8:d=1,drawbox=w=32:h=16:c=red:t=fill,setsar=2 -c:v ffv1 s.mkv");
        var frame = VideoReader.Read(path).Frame(0);        // shown as 64x64: nothing is cropped
        AssertPixel(frame, 64, 32, 4, 254, 0, 0);
        AssertPixel(frame, 64, 32, 30, 0, 255, 0);
    }

    [TestMethod]
    public void Read_RotatedFile_IsTurned()
    {
        _videos.Make("-f lavfi -i color=lime:s=64x32:r=8:d=1,drawbox=x=0:w=32:h=32:c=red:t=fill -c:v libx264 -crf 5 flat.mp4");
        string path = _videos.Make("-i flat.mp4 -c copy -metadata:s:v rotate=90 turned.mp4");

        var clip = VideoReader.Read(path, new VideoReadOptions { Width = 32, Height = 64 });

        var frame = clip.Frame(0);      // left half has become the top half or the bottom one: above and below differ now
        Assert.AreNotEqual(frame[(8 * 32 + 16) * 3] > 128, frame[(56 * 32 + 16) * 3] > 128);
    }

    [TestMethod]
    [DataRow(ShortClip.Loop, new[] { 0, 5, 10, 15, 0, 5, 10, 15, 0, 5 })]
    [DataRow(ShortClip.Hold, new[] { 0, 5, 10, 15, 15, 15, 15, 15, 15, 15 })]
    public void Read_ShortFile_IsContinued(ShortClip how, int[] expected)
    {
        string path = _videos.Clock("c.mkv", 2, "-c:v ffv1");
        var clip = VideoReader.Read(path, new VideoReadOptions { FrameCount = 10, FrameRate = 2, ShortClip = how });
        CollectionAssert.AreEqual(expected, SmallVideos.Middle(clip));
    }

    [TestMethod]
    public void Read_ShortFileRefused_NamesFileAndBothCounts()
    {
        string path = _videos.Clock("c.mkv", 2, "-c:v ffv1");
        var e = Assert.ThrowsExactly<InvalidDataException>(() => VideoReader.Read(
            path, new VideoReadOptions { FrameCount = 10, FrameRate = 2, ShortClip = ShortClip.Refuse }));
        StringAssert.Contains(e.Message, path);
        StringAssert.Contains(e.Message, "10 frames");
        StringAssert.Contains(e.Message, "has 4");
    }

    [TestMethod]
    public void Read_NoFile_NamesIt()
    {
        var e = Assert.ThrowsExactly<FileNotFoundException>(() => VideoReader.Read("nowhere.mp4"));
        Assert.AreEqual("nowhere.mp4", e.FileName);
        StringAssert.Contains(e.Message, "nowhere.mp4");
    }

    [TestMethod]
    [DataRow("text.mp4", "hello")]
    [DataRow("text.gif", "GIF89a and nothing more")]
    [DataRow("text.webp", "RIFFxxxxWEBPVP8X and nothing more")]
    [DataRow("empty.mp4", "")]
    public void Read_NotAVideo_NamesFileAndReason(string name, string content)
    {
        string path = _videos.PathOf(name);
        File.WriteAllText(path, content);
        var e = Assert.ThrowsExactly<InvalidDataException>(() => VideoReader.Read(path));
        StringAssert.Contains(e.Message, path);
        Assert.IsTrue(e.Message.Length is > 40 and < 600, e.Message);
    }

    [TestMethod]
    public void Read_SoundOnly_NamesFile()
    {
        string path = _videos.Make("-f lavfi -i sine=d=1 s.wav");
        StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(() => VideoReader.Read(path)).Message, path);
    }

    [TestMethod]
    public void Read_PngWhoseNameLooksLikeAPattern_IsRead()
    {
        string path = _videos.PathOf("p%03d.png");
        File.Move(_videos.RedBoxOnNothing("-f apng box.png"), path);
        Assert.AreEqual(8, VideoReader.Read(path).FrameCount);
    }

    [TestMethod]
    public void Read_PathWithQuotesAndSpaces_IsRead()
    {
        string path = _videos.PathOf("a \"quoted\" 'name' %d\\.mkv");
        File.Move(_videos.Clock("c.mkv", encoder: "-c:v ffv1"), path);
        Assert.AreEqual(8, VideoReader.Read(path).FrameCount);
    }

    [TestMethod]
    public void Read_NoFfmpeg_SaysWhatToInstall()
    {
        string path = _videos.Clock("c.mkv");
        string? before = Environment.GetEnvironmentVariable("PATH");
        try
        {
            Environment.SetEnvironmentVariable("PATH", _videos.Folder);
            var e = Assert.ThrowsExactly<InvalidOperationException>(() => VideoReader.Read(path));
            StringAssert.Contains(e.Message, "apt-get install ffmpeg");
            Assert.ThrowsExactly<InvalidOperationException>(VideoReader.CheckFfmpeg);
        }
        finally
        {
            Environment.SetEnvironmentVariable("PATH", before);
        }
        VideoReader.CheckFfmpeg();
    }

    [TestMethod]
    public void Read_Cancelled_Throws()
    {
        string path = _videos.Clock("c.mkv");
        Assert.ThrowsExactly<OperationCanceledException>(() => VideoReader.Read(path, cancellationToken: new CancellationToken(true)));
    }

    [TestMethod]
    public void Read_OptionOutOfRange_NamesIt()
    {
        string path = _videos.Clock("c.mkv");
        foreach (var (options, name) in new[]
        {
            (new VideoReadOptions { FrameCount = 0 }, "FrameCount"), (new VideoReadOptions { Width = 0 }, "Width"),
            (new VideoReadOptions { Height = 20000 }, "Height"), (new VideoReadOptions { FrameRate = double.NaN }, "FrameRate"),
        })
            Assert.AreEqual(name, Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => VideoReader.Read(path, options)).ParamName);
    }

    [TestMethod]
    public void Read_FromSeveralThreads_GivesTheSameEveryTime()
    {
        string path = _videos.Clock("c.mkv", encoder: "-c:v ffv1");
        var clips = Enumerable.Range(0, 8).AsParallel().WithDegreeOfParallelism(4).Select(_ => VideoReader.Read(path)).ToArray();
        foreach (var clip in clips)
            CollectionAssert.AreEqual(clips[0].Pixels.ToArray(), clip.Pixels.ToArray());
    }

    [TestMethod]
    public void Read_Sticker_IsOnWhite()
    {
        var clip = VideoReader.Read(Shared.PathOf("data", "stickers", "1-smile.mp4"));
        AssertPixel(clip.Frame(0), 64, 1, 1, 255, 255, 255);
        Assert.AreNotEqual(255, (int)clip.Frame(0)[(32 * 64 + 32) * 3 + 2]);
    }

    private static void AssertPixel(ReadOnlySpan<byte> frame, int width, int x, int y, int red, int green, int blue)
    {
        int i = (y * width + x) * 3;
        Assert.IsTrue(Math.Abs(frame[i] - red) <= 4 && Math.Abs(frame[i + 1] - green) <= 4 && Math.Abs(frame[i + 2] - blue) <= 4,
            $"({x}, {y}): expected {red} {green} {blue}, got {frame[i]} {frame[i + 1]} {frame[i + 2]}");
    }
}
