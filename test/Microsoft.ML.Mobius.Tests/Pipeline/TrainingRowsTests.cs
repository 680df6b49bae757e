using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Tests.Pipeline;

[TestClass]
public sealed class TrainingRowsTests
{
    private readonly TinyPipeline _tiny = new();
    private readonly SmallVideos _videos = new();

    [ClassInitialize]
    public static void Start(TestContext _) => TinyPipeline.UseOneThread();

    [ClassCleanup]
    public static void End() => TinyPipeline.UseUsualThreads();

    [TestCleanup]
    public void RemoveVideos() => _videos.Dispose();

    [TestMethod]
    public void Read_SecondTime_TakesLatentsFromTheCache()
    {
        string clock = _videos.Clock("c.mkv", encoder: "-c:v ffv1"), cache = _videos.PathOf("cache");
        var (cold, warm) = (Fit(cache, clock), Fit(cache, clock));
        TinyPipeline.AssertSame(cold, warm);
        TinyPipeline.AssertSame(cold, Fit(null, clock));
        Assert.HasCount(1, _tiny.Log.Where(line => line.Contains("3 of 3 rows' latents were cached", StringComparison.Ordinal)));
        Assert.HasCount(1, Directory.GetFiles(cache), "One file has one entry, however often it is in the data.");

        File.Copy(_videos.Clock("d.mkv", 10, "-c:v ffv1"), clock, overwrite: true);
        TinyPipeline.AssertOther(cold, Fit(cache, clock));
        Assert.HasCount(2, Directory.GetFiles(cache));
    }

    [TestMethod]
    public void Read_CacheDamaged_WarnsAndDecodesAgain()
    {
        string clock = _videos.Clock("c.mkv", encoder: "-c:v ffv1"), cache = _videos.PathOf("cache");
        var cold = Fit(cache, clock);
        string entry = Directory.GetFiles(cache).Single();
        File.WriteAllBytes(entry, File.ReadAllBytes(entry)[..^1]);
        TinyPipeline.AssertSame(cold, Fit(cache, clock));
        Assert.IsTrue(_tiny.Logged("Warning", "Row 0: The cached latents"));
        Fit(cache, clock);
        Assert.HasCount(1, _tiny.Log.Where(line => line.Contains("3 of 3 rows' latents", StringComparison.Ordinal)));
    }

    [TestMethod]
    public void Fit_StoppedColdAndResumedWarm_IsTheSameRun()
    {
        string clock = _videos.Clock("c.mkv", encoder: "-c:v ffv1");
        void Run(int steps, bool resume) => Trainer(clock, options =>
        {
            (options.CacheFolder, options.CheckpointFolder) = (_videos.PathOf("cache"), _videos.PathOf("checkpoints"));
            (options.LearningRateSchedule, options.Steps, options.Resume) = (LearningRateSchedule.Constant, steps, resume);
        });
        Run(2, false);
        Run(4, true);
        Assert.IsTrue(_tiny.Logged("Info", "Resumed after step 2"));
    }

    [TestMethod]
    public void Read_VideosInMemory_AreCachedByTheirPixels()
    {
        using var rows = new TinyRows(_tiny, options => options.CacheFolder = _videos.PathOf("cache"));
        var gradient = SmallVideos.Gradient(2, 16, 16);
        TrainingRow Read(VideoClip clip) => rows.Read(new TinyPipeline.Row { Caption = "a", Clip = clip }).Single();
        var row = Read(gradient);
        using var latents = ClipLatents.Of(rows.Model, row.Clips.Single());
        new LatentCache(_videos.PathOf("cache"), rows.Model, "").Keep(row.Key!, [latents]);
        using (var found = Read(gradient).Latents!.Single())
            Assert.AreEqual(ClipLatents.HashOf(gradient), found.Pixels);
        Assert.IsNull(Read(SmallVideos.Gradient(3, 16, 16)).Latents);
    }

    [TestMethod]
    public void Read_BrokenClipsSkipped_AreNamedAndCounted()
    {
        string good = _videos.Clock("c.mkv", encoder: "-c:v ffv1"), text = _videos.PathOf("text.mp4");
        File.WriteAllText(text, "no video");
        using var rows = Rows(options => options.BrokenClips = BrokenClip.Skip);
        var read = rows.Read(Row(text), Row(good), Row(""), Row("nowhere.mp4"), Row(good));
        Assert.HasCount(2, read);
        Assert.AreEqual(3, rows.Skipped);
        foreach (string said in new[] { $"Row 0: '{text}' is not a readable video", "Row 2: the path", "Row 3: The video 'nowhere.mp4'", "3 of 5 rows were skipped" })
            Assert.IsTrue(_tiny.Logged("Warning", said), said);
    }

    [TestMethod]
    public void Fit_EveryClipBroken_SaysSo()
        => Assert.Contains("no clip could be read", Assert.ThrowsExactly<InvalidOperationException>(
            () => Trainer("nowhere.mp4", options => options.BrokenClips = BrokenClip.Skip)).Message);

    [TestMethod]
    public void Read_EmptyCaption_StopsThoughClipsMayBeSkipped()
    {
        using var rows = Rows(options => options.BrokenClips = BrokenClip.Skip);
        Assert.ThrowsExactly<InvalidDataException>(() => rows.Read(new TinyPipeline.Row { Caption = " ", Path = "nowhere.mp4" }));
    }

    [TestMethod]
    public void Read_DecoderThatStalls_IsStopped()
    {
        if (OperatingSystem.IsWindows())
        {
            Assert.Inconclusive("The stalling decoder is a shell script.");
            return;
        }
        string clock = _videos.Clock("c.mkv"), bin = Directory.CreateDirectory(_videos.PathOf("bin")).FullName, fake = Path.Combine(bin, "ffmpeg");
        File.WriteAllText(fake, "#!/bin/sh\nexec sleep 600\n");
        File.SetUnixFileMode(fake, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        string? before = Environment.GetEnvironmentVariable("PATH");
        try
        {
            Environment.SetEnvironmentVariable("PATH", $"{bin}:{before}");
            using var rows = Rows(options => options.ClipSeconds = 0.3);
            var error = Assert.ThrowsExactly<InvalidDataException>(() => rows.Read(Row(clock)));
            Assert.Contains($"Row 0: '{clock}' was not read in 0.3 s", error.Message);
        }
        finally
        {
            Environment.SetEnvironmentVariable("PATH", before);
        }
    }

    [TestMethod]
    public void Read_FrameBuckets_GivePicturesOneFrameAndVideosTheLongestTheyFill()
    {
        string png = _videos.Make("-f lavfi -i testsrc=s=32x32 -frames:v 1 p.png"), jpg = _videos.Make("-f lavfi -i testsrc=s=32x32 -frames:v 1 p.jpg");
        string shortest = _videos.Make("-f lavfi -i testsrc=s=32x32:r=8:d=0.5 s.mkv"), longer = _videos.Clock("c.mkv");
        using var rows = Rows(options => (options.FrameBuckets, options.FrameRate) = ([1, 3, 9], 8));
        var read = rows.Read(Row(png), Row(jpg), Row(shortest), Row(longer));
        CollectionAssert.AreEqual(new[] { 1, 1, 3, 9 }, read.Select(row => row.Clips.Single().FrameCount).ToArray());
        using var looped = Rows(options => options.FrameCount = 3);
        Assert.AreEqual(3, looped.Read(Row(png)).Single().Clips.Single().FrameCount);
    }

    [TestMethod]
    public void Read_AspectRatioBuckets_KeepTheShapeOfEachFile()
    {
        string wide = _videos.Make("-f lavfi -i testsrc=s=60x30:r=8:d=1 w.mkv"), tall = _videos.Make("-f lavfi -i testsrc=s=30x60:r=8:d=1 t.mkv");
        string stretched = _videos.Make("-f lavfi -i testsrc=s=30x30:r=8:d=1,setsar=2/1 s.mp4"), picture = _videos.Make("-f lavfi -i testsrc=s=60x32 -frames:v 1 w.webp");
        using var rows = Rows(options => options.AspectRatioBuckets = true);
        (int, int)[] sizes = [.. rows.Read(Row(wide), Row(tall), Row(stretched), Row(picture)).Select(row => row.Clips.Single()).Select(clip => (clip.Width, clip.Height))];
        CollectionAssert.AreEqual(new[] { (20, 12), (12, 20), (20, 12), (20, 12) }, sizes);
    }

    [TestMethod]
    public void Read_FrameStride_TakesEveryNthFrameWhateverItsTime()
    {
        using var rows = Rows(options => (options.FrameStride, options.FrameCount) = (3, 4));
        foreach (string path in new[] { _videos.Clock("c.mkv", 25, "-c:v ffv1"), _videos.Clock("c.webp", 25, "-c:v libwebp_anim -lossless 1") })
        {
            int[] middle = SmallVideos.Middle(rows.Read(Row(path)).Single().Clips.Single());
            foreach (var (k, expected) in new[] { 0, 15, 30, 45 }.Index())
                Assert.AreEqual(expected, middle[k], 1, $"{path} {k}");
        }
        var clip = SmallVideos.Gradient(12, 16, 16);
        using var memory = new TinyRows(_tiny, options => (options.FrameStride, options.FrameCount) = (3, 4));
        var strided = memory.Read(new TinyPipeline.Row { Caption = "a", Clip = clip }).Single().Clips.Single();
        Assert.IsTrue(strided.Frame(2).SequenceEqual(clip.Frame(6)));
    }

    [TestMethod]
    [DataRow(5, 0, 0, 4, 8)]
    [DataRow(2, 0, 0, 4)]
    [DataRow(5, 2, 0, 2, 4, 6)]
    [DataRow(1, 2, 0)]
    public void Read_Windows_BeginWhereTheyShould(int windows, int stride, params int[] begin)
    {
        var clip = SmallVideos.Gradient(11, 16, 16);
        using var rows = new TinyRows(_tiny, options => (options.FrameCount, options.Windows, options.WindowStride) = (stride == 0 ? 3 : 4, windows, stride == 0 ? 4 : stride));
        var cut = rows.Read(new TinyPipeline.Row { Caption = "a", Clip = clip }).Single().Clips;
        Assert.HasCount(begin.Length, cut);
        for (int i = 0; i < cut.Count; i++)
            for (int k = 0; k < cut[i].FrameCount; k++)
                Assert.IsTrue(cut[i].Frame(k).SequenceEqual(clip.Frame(begin[i] + k)), $"window {i}, frame {k}");
    }

    [TestMethod]
    public void Read_WindowsOfAFile_FollowEachOther()
    {
        using var rows = Rows(options => (options.FrameCount, options.Windows, options.FrameRate) = (4, 3, 25));
        var clips = rows.Read(Row(_videos.Clock("c.mkv", 25, "-c:v ffv1"))).Single().Clips;
        CollectionAssert.AreEqual(Enumerable.Range(0, 12).Select(n => 5 * n).ToArray(), clips.SelectMany(SmallVideos.Middle).ToArray());
    }

    [TestMethod]
    public void Read_Mirror_GivesEachClipTwice()
    {
        var clip = SmallVideos.Gradient(2, 16, 16);
        using var rows = new TinyRows(_tiny, options => options.Mirror = true);
        var clips = rows.Read(new TinyPipeline.Row { Caption = "a", Clip = clip }).Single().Clips;
        Assert.HasCount(2, clips);
        TinyPipeline.AssertSame(clip, clips[0]);
        for (int x = 0; x < 16; x++)
            Assert.IsTrue(clips[1].Frame(1).Slice((5 * 16 + x) * 3, 3).SequenceEqual(clip.Frame(1).Slice((5 * 16 + 15 - x) * 3, 3)));
        TinyPipeline.AssertSame(clip, clips[1].Mirrored());
    }

    [TestMethod]
    public void Read_RandomCrop_IsChosenByTheFile()
    {
        // A ramp from left to right tells where a frame was cut; another blue makes another file.
        string[] paths = [.. Enumerable.Range(1, 4).Select(i => _videos.Make(
            $"-f lavfi -i color=black:s=96x16:r=8:d=1,format=gbrp,geq=r='2*X':g=0:b={i} -c:v ffv1 -flags:v +bitexact -fflags +bitexact g{i}.mkv"))];
        int[] Left(bool random)
        {
            using var rows = Rows(options => options.RandomCrop = random);
            return [.. rows.Read([.. paths.Select(Row)]).Select(row => (int)row.Clips.Single().Frame(0)[0])];
        }
        CollectionAssert.AreEqual(Left(true), Left(true));
        Assert.IsGreaterThan(2, Left(true).Distinct().Count());
        Assert.HasCount(1, Left(false).Distinct().ToList());
    }

    [TestMethod]
    [DataRow(8, 64, 100, 100)]
    [DataRow(600, 64, 100, 6)]
    [DataRow(600, 64, 2, 2)]
    [DataRow(600, 512, 100, 1)]
    public void RowsAhead_ManyProcessors_HoldsNoMoreThanTwoHundredMegabytes(int frames, int side, int processors, int expected)
    {
        var options = TinyPipeline.Options(options => (options.FrameCount, options.Height, options.Width) = (frames, side, side));
        var shapes = options.Shapes(TinyModel.Factor);
        using var rows = new TinyRows(_tiny, _ => { });
        Assert.AreEqual(expected, rows.Of(options, shapes).RowsAhead(processors));
    }

    [TestMethod, TestCategory("Heavy")]
    public void Read_TenClipsOfSixHundredFrames_TakesLittleMemory()
    {
        string path = _videos.Make("-f lavfi -i testsrc=s=64x64:r=25:d=24 -c:v libx264 -preset ultrafast l.mp4");
        using var rows = Rows(options => (options.FrameCount, options.Height, options.Width, options.FrameRate) = (600, 64, 64, 25));
        rows.Read(Row(path));
        long before = Memory.Resident(), most = 0;
        using var stop = new CancellationTokenSource();
        var watching = Task.Run(() =>
        {
            while (!stop.Token.WaitHandle.WaitOne(5))
                most = Math.Max(most, Environment.WorkingSet);
        });
        Assert.HasCount(10, rows.Read([.. Enumerable.Repeat(path, 10).Select(Row)]));
        stop.Cancel();
        watching.Wait();
        Assert.IsTrue(most - before < 200L << 20, $"{(most - before) >> 20} MiB");
    }

    private TinyRows Rows(Action<TextToVideoTrainer.Options> change) => new(_tiny, options =>
    {
        options.ClipColumnName = "Path";
        change(options);
    });

    private static TinyPipeline.Row Row(string path) => new() { Caption = "a", Path = path };

    private VideoClip Fit(string? cache, string path) => Trainer(path, options => options.CacheFolder = cache);

    private VideoClip Trainer(string path, Action<TextToVideoTrainer.Options> change)
    {
        using var transformer = _tiny.Trainer(options =>
        {
            (options.ClipColumnName, options.LearningRate) = ("Path", 0.1);
            change(options);
        }).Fit(_tiny.View(Row(path), Row(path), Row(path)));
        return TinyPipeline.Videos(transformer.Transform(_tiny.Prompts("a"))).Single();
    }
}
