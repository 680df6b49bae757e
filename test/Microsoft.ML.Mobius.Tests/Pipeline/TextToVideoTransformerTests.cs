using Microsoft.ML.Data;
using Microsoft.ML.Mobius.Sampling;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Tests.Pipeline;

[TestClass]
public sealed class TextToVideoTransformerTests
{
    private readonly TinyPipeline _tiny = new();

    [ClassInitialize]
    public static void Start(TestContext _) => TinyPipeline.UseOneThread();

    [ClassCleanup]
    public static void End() => TinyPipeline.UseUsualThreads();

    [TestMethod]
    public void Transform_TwentyPrompts_GivesTwentyVideos()
    {
        using var transformer = _tiny.Untrained();
        var view = transformer.Transform(_tiny.Prompts([.. Enumerable.Range(0, 20).Select(i => $"prompt {i}")]));

        Assert.AreEqual(new VideoDataViewType(2, 16, 16), view.Schema["Video"].Type);
        var videos = TinyPipeline.Videos(view);
        Assert.HasCount(20, videos);
        Assert.AreEqual(20, videos.Select(video => Convert.ToHexString(video.Pixels.Span)).Distinct().Count());
        Assert.AreEqual((2, 16, 16, 8.0), (videos[0].FrameCount, videos[0].Height, videos[0].Width, videos[0].FrameRate));
    }

    [TestMethod]
    public void Transform_SamePromptInAnotherRow_GivesTheSameVideo()
    {
        using var transformer = _tiny.Untrained();
        var videos = TinyPipeline.Videos(transformer.Transform(_tiny.Prompts("a", "b", "a")));
        TinyPipeline.AssertSame(videos[0], videos[2]);
        TinyPipeline.AssertOther(videos[0], videos[1]);
    }

    [TestMethod]
    public void Transform_SeveralCursors_GiveTheSameVideos()
    {
        using var transformer = _tiny.Untrained();
        var view = transformer.Transform(_tiny.Prompts([.. Enumerable.Range(0, 6).Select(i => $"{i}")]));
        var expected = TinyPipeline.Videos(view);
        var found = new VideoClip?[6];
        Parallel.ForEach(view.GetRowCursorSet(view.Schema, 3), cursor =>
        {
            using (cursor)
            {
                var getCaption = cursor.GetGetter<ReadOnlyMemory<char>>(view.Schema["Caption"]);
                var getVideo = cursor.GetGetter<VideoClip?>(view.Schema["Video"]);
                ReadOnlyMemory<char> caption = default;
                VideoClip? video = null;
                while (cursor.MoveNext())
                {
                    getCaption(ref caption);
                    getVideo(ref video);
                    found[int.Parse(caption.Span)] = video;
                }
            }
        });
        for (int i = 0; i < 6; i++)
            TinyPipeline.AssertSame(expected[i], found[i]!);
    }

    [TestMethod]
    public void Getter_AskedTwice_GeneratesOnce()
    {
        using var transformer = _tiny.Untrained();
        var view = transformer.Transform(_tiny.Prompts("a", "b"));
        using var cursor = view.GetRowCursor(view.Schema);
        var getVideo = cursor.GetGetter<VideoClip?>(view.Schema["Video"]);
        VideoClip? first = null, second = null, other = null;
        cursor.MoveNext();
        getVideo(ref first);
        getVideo(ref second);
        cursor.MoveNext();
        getVideo(ref other);
        Assert.AreSame(first, second);
        Assert.AreNotSame(first, other);
    }

    [TestMethod]
    public void Transform_VideoNotAskedFor_GeneratesNothing()
    {
        var transformer = _tiny.Untrained();
        var view = transformer.Transform(_tiny.Prompts("a"));
        transformer.Dispose();
        Assert.HasCount(1, view.GetColumn<string>("Caption").ToArray());
    }

    [TestMethod]
    public void Transform_EmptyPrompt_IsUnconditional()
    {
        using var transformer = _tiny.Untrained();
        Assert.HasCount(1, TinyPipeline.Videos(transformer.Transform(_tiny.Prompts(""))));
    }

    [TestMethod]
    public void Transform_SeedAndNegativeColumns_Count()
    {
        using var transformer = _tiny.Untrained(options => (options.SeedColumnName, options.NegativePromptColumnName) = ("Seed", "Negative"));
        var videos = TinyPipeline.Videos(transformer.Transform(_tiny.View(
            new() { Caption = "a", Seed = 1 }, new() { Caption = "a", Seed = 2 }, new() { Caption = "a", Seed = 1, Negative = "dull" },
            new() { Caption = "a", Seed = 1 }, new() { Caption = "a", Seed = -1 })));
        TinyPipeline.AssertSame(videos[0], videos[3]);
        foreach (int other in new[] { 1, 2, 4 })
            TinyPipeline.AssertOther(videos[0], videos[other]);
    }

    [TestMethod]
    public void Transform_SourceColumn_CountsWhereTheOptionsAskForIt()
    {
        using var transformer = _tiny.Untrained(options => options.SourceColumnName = "Clip");
        var (dark, light) = (Grey(0), Grey(255));
        var rows = _tiny.View(new() { Caption = "a", Clip = dark }, new() { Caption = "a", Clip = light }, new() { Caption = "a", Clip = dark });
        var unread = TinyPipeline.Videos(transformer.Transform(rows));
        TinyPipeline.AssertSame(unread[0], unread[1]);
        transformer.Generation = transformer.Generation with { Strength = 0.5 };
        var videos = TinyPipeline.Videos(transformer.Transform(rows));
        TinyPipeline.AssertSame(videos[0], videos[2]);
        TinyPipeline.AssertOther(videos[0], videos[1]);
        TinyPipeline.AssertSame(videos[0], transformer.Generate("a", start: new() { Source = dark }));
        Assert.Contains("Row 0", Assert.Throws<Exception>(() => TinyPipeline.Videos(transformer.Transform(_tiny.View(new TinyPipeline.Row { Caption = "a" })))).ToString());
    }

    [TestMethod]
    public void Transform_SourceAskedForAndNoColumn_IsRefused()
    {
        using var without = _tiny.Untrained();
        without.Generation = without.Generation with { HeldFrames = 1 };
        Assert.Contains("without a source column", Assert.Throws<Exception>(() => without.Transform(_tiny.Clips())).ToString());
        using var other = _tiny.Untrained(options => options.SourceColumnName = "Clip");
        other.Generation = other.Generation with { HeldFrames = 1 };
        Assert.Contains("Clip", Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => other.Transform(_tiny.Prompts("a"))).Message);
        Assert.Contains("Video", Assert.ThrowsExactly<ArgumentOutOfRangeException>(
            () => _tiny.Untrained(options => options.SourceColumnName = "Caption")).Message);
    }

    [TestMethod]
    public void Generate_SourceThatDoesNotFit_IsRefused()
    {
        using var transformer = _tiny.Untrained();
        var own = transformer.Generation;
        string Refused(GenerationOptions how, VideoClip? source)
            => Assert.ThrowsExactly<ArgumentException>(() => transformer.Generate("a", how, start: new() { Source = source })).Message;
        Assert.Contains("There is no source", Refused(own with { Strength = 0.5 }, null));
        Assert.Contains("of no use", Refused(own, Grey(0)));
        Assert.Contains("2 frames or more of 16x16", Refused(own with { Strength = 0.5 }, SmallVideos.Gradient(1, 16, 16)));
        Assert.Contains("1 frames or more of 16x16", Refused(own with { HeldFrames = 1 }, SmallVideos.Gradient(1, 16, 20)));
        transformer.Generate("a", own with { HeldFrames = 1 }, start: new() { Source = SmallVideos.Gradient(1, 16, 16) });
        Assert.Contains("[4, 2, 4, 4]", Assert.ThrowsExactly<ArgumentException>(
            () => transformer.Generate("a", start: new() { Noise = new float[3] })).Message);
        TinyPipeline.AssertOther(transformer.Generate("a"), transformer.Generate("a", start: new() { Noise = new float[4 * 2 * 4 * 4] }));
    }

    [TestMethod]
    public void GenerateSeveral_OfOnePrompt_AreThoseOfSeedsInARow()
    {
        using var transformer = _tiny.Untrained();
        var how = transformer.Generation with { Seed = 5 };
        var videos = transformer.GenerateSeveral("a", 3, how).ToArray();
        foreach (int i in new[] { 0, 1, 2 })
            TinyPipeline.AssertSame(transformer.Generate("a", how with { Seed = 5 + i }), videos[i]);
        TinyPipeline.AssertOther(videos[0], videos[1]);
        Assert.ThrowsExactly<ArgumentException>(() => transformer.GenerateSeveral("a", 2, start: new() { Noise = new float[128] }));
        Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => transformer.GenerateSeveral("a", -1));
    }

    private static VideoClip Grey(byte value)
        => new([.. Enumerable.Repeat(value, 2 * 16 * 16 * 3)], 2, 16, 16, 8);

    [TestMethod]
    public void Transform_LongPrompt_WarnsOncePerRow()
    {
        using var transformer = _tiny.Untrained();
        TinyPipeline.Videos(transformer.Transform(_tiny.Prompts("a", new string('b', 80))));
        string warning = _tiny.Log.Single(line => line.StartsWith("Warning", StringComparison.Ordinal));
        Assert.Contains("Row 1", warning);
        Assert.Contains("80 tokens", warning);
    }

    [TestMethod]
    public void Transform_ColumnMissing_Throws()
    {
        using var transformer = _tiny.Untrained();
        var data = _tiny.ML.Transforms.DropColumns("Caption").Fit(_tiny.Clips()).Transform(_tiny.Clips());
        Assert.Contains("Caption", Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => transformer.GetOutputSchema(data.Schema)).Message);
        Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => transformer.Transform(data));
    }

    [TestMethod]
    public void Transform_ColumnOfAnotherType_Throws()
    {
        using var transformer = _tiny.Untrained(options => options.SeedColumnName = "Seed");
        var data = _tiny.ML.Transforms.CopyColumns("Seed", "Caption").Fit(_tiny.Clips()).Transform(_tiny.Clips());
        var error = Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => transformer.Transform(data));
        foreach (string part in new[] { "Seed", "Int64" })
            Assert.Contains(part, error.Message);
    }

    [TestMethod]
    public void Generation_Changed_CountsForLaterViewsOnly()
    {
        using var transformer = _tiny.Untrained();
        var before = transformer.Transform(_tiny.Prompts("a"));
        var expected = TinyPipeline.Videos(before).Single();
        transformer.Generation = transformer.Generation with { FrameCount = 3, SamplingSteps = 3, NegativePrompt = "dull", Seed = 9 };

        TinyPipeline.AssertSame(expected, TinyPipeline.Videos(before).Single());
        var after = transformer.Transform(_tiny.Prompts("a"));
        Assert.AreEqual(new VideoDataViewType(3, 16, 16), after.Schema["Video"].Type);
        Assert.AreEqual(3, TinyPipeline.Videos(after).Single().FrameCount);
    }

    [TestMethod]
    public void Generation_OutOfRange_NamesAll()
    {
        using var transformer = _tiny.Untrained();
        var error = Assert.ThrowsExactly<ArgumentException>(
            () => transformer.Generation = transformer.Generation with { Width = 17, SamplingSteps = 0, GuidanceScale = -1 });
        foreach (string part in new[] { "Width is 17", "16 and 20", "SamplingSteps", "GuidanceScale" })
            Assert.Contains(part, error.Message);
        Assert.AreEqual(16, transformer.Generation.Width);
    }

    [TestMethod]
    public void Generation_WaysOutOfRange_NamesAll()
    {
        using var transformer = _tiny.Untrained();
        var own = transformer.Generation;
        string Refused(GenerationOptions how) => Assert.ThrowsExactly<ArgumentException>(() => transformer.Generation = how).Message;
        string all = Refused(own with { FrameWindow = 1, Strength = 0, HeldFrames = 2, DecodeRows = -1 });
        foreach (string part in new[] { "FrameWindow is 1", "Strength is 0", "HeldFrames is 2; 0 to 1", "DecodeRows is -1" })
            Assert.Contains(part, all);
        Assert.Contains("FrameWindow is 0", Refused(own with { FrameOverlap = 1 }));
        Assert.Contains("FrameOverlap is 4; 1 to 3", Refused(own with { FrameWindow = 4, FrameOverlap = 4 }));
        Assert.Contains("Pndm", Refused(own with { Sampler = SamplerKind.Pndm, Strength = 0.5 }));
        Assert.Contains("KeyFrames is 3, but Pndm", Refused(own with { Sampler = SamplerKind.Pndm, FrameCount = 9, KeyFrames = 3 }));
        Assert.Contains("KeyFrames is 9; 0 and 2 to 8", Refused(own with { FrameCount = 9, KeyFrames = 9 }));
        Assert.Contains("not with a source", Refused(own with { FrameCount = 9, KeyFrames = 3, HeldFrames = 1 }));
        Assert.Contains("FrameWindow is 4", Refused(own with { FrameWindow = 4, DeepCacheInterval = 2 }));
        Assert.Contains("SpatialFrameChunk is -1", Refused(own with { SpatialFrameChunk = -1 }));
        Assert.Contains("DeepCacheInterval is 0", Refused(own with { DeepCacheInterval = 0 }));
        using var serial = _tiny.Untrained(options => options.Layout = UNetLayout.Serial);
        Assert.Contains("layout Serial", Assert.ThrowsExactly<ArgumentException>(() => serial.Generation = own with { DeepCacheInterval = 2 }).Message);
        Assert.AreEqual(own, transformer.Generation);
    }

    [TestMethod]
    public void Generation_MoreStepsThanTheSamplerTakes_IsRefused()
    {
        using var transformer = _tiny.Untrained();
        var before = transformer.Generation;
        Assert.Contains("1 to 50", Assert.ThrowsExactly<ArgumentException>(
            () => transformer.Generation = before with { Sampler = SamplerKind.Lcm, SamplingSteps = 51 }).Message);
        Assert.AreEqual(before, transformer.Generation);
    }

    [TestMethod]
    public void Generation_EtaOfAnotherSamplerThanDdim_IsRefused()
    {
        using var transformer = _tiny.Untrained();
        Assert.Contains("Eta is 0.5", Assert.ThrowsExactly<ArgumentException>(
            () => transformer.Generation = transformer.Generation with { Sampler = SamplerKind.Euler, Eta = 0.5 }).Message);
    }

    [TestMethod]
    public void Generate_PromptAlone_GivesTheRowsVideoAndOthersByEtaAndSeed()
    {
        using var transformer = _tiny.Untrained();
        var how = transformer.Generation with { Sampler = SamplerKind.Ddim };
        var expected = TinyPipeline.Videos(transformer.Transform(_tiny.Prompts("a"))).Single();
        TinyPipeline.AssertSame(expected, transformer.Generate("a"));
        TinyPipeline.AssertSame(expected, transformer.Generate("a", how));
        TinyPipeline.AssertOther(expected, transformer.Generate("a", how with { Eta = 1 }));
        TinyPipeline.AssertOther(expected, transformer.Generate("a", how with { Seed = how.Seed + 1 }));
    }

    [TestMethod]
    public void Generate_Watched_PreviewsEndInTheVideoAndAreHadInTheCallbackAlone()
    {
        using var transformer = _tiny.Untrained();
        var seen = new List<(int Step, VideoClip Preview)>();
        SamplingProgress? kept = null;
        var video = transformer.Generate("a", progress: at => seen.Add(((kept = at).Step, at.Preview())));
        CollectionAssert.AreEqual(new[] { 1, 2 }, seen.Select(one => one.Step).ToArray());
        TinyPipeline.AssertOther(video, seen[0].Preview);
        Assert.IsGreaterThan(25, SmallVideos.Psnr(video, seen[1].Preview));     // but for the noise that the last step leaves
        Assert.ThrowsExactly<InvalidOperationException>(() => kept!.Preview());
    }

    [TestMethod]
    public void Generate_Cancelled_StopsBetweenTwoSteps()
    {
        using var transformer = _tiny.Untrained();
        using var cancel = new CancellationTokenSource();
        int steps = 0;
        Assert.ThrowsExactly<OperationCanceledException>(() => transformer.Generate("a", progress: _ =>
        {
            steps++;
            cancel.Cancel();
        }, token: cancel.Token));
        Assert.AreEqual(1, steps);
    }

    [TestMethod]
    public void SeedOf_Always_IsTheDocumentedHash()
    {
        // Python: int.from_bytes(hashlib.sha256(struct.pack('<q', 7) + 'a cat'.encode()).digest()[:8], 'little', signed=True)
        Assert.AreEqual(1414482236350883074, new GenerationOptions { Seed = 7 }.SeedOf("a cat"));
    }

    [TestMethod]
    public void PredictionEngine_Prompt_GivesTheBatchsVideo()
    {
        using var transformer = _tiny.Untrained();
        var expected = TinyPipeline.Videos(transformer.Transform(_tiny.Prompts("a"))).Single();
        var options = new PredictionEngineOptions { OwnsTransformer = false };
        using (var engine = _tiny.ML.Model.CreatePredictionEngine<TinyPipeline.Prompt, TinyPipeline.Answer>(transformer, options))
        {
            TinyPipeline.AssertSame(expected, engine.Predict(new() { Caption = "a" }).Video!);
            TinyPipeline.AssertOther(expected, engine.Predict(new() { Caption = "b" }).Video!);
        }
        TinyPipeline.AssertSame(expected, TinyPipeline.Videos(transformer.Transform(_tiny.Prompts("a"))).Single());
    }

    [TestMethod]
    public void PredictionEngine_OwningTheTransformer_DisposesIt()
    {
        var transformer = _tiny.Untrained();
        _tiny.ML.Model.CreatePredictionEngine<TinyPipeline.Prompt, TinyPipeline.Answer>(transformer).Dispose();
        Assert.ThrowsExactly<ObjectDisposedException>(() => TinyPipeline.Videos(transformer.Transform(_tiny.Prompts("a"))));
    }

    [TestMethod]
    public void Dispose_Twice_ThenEveryUseThrows()
    {
        var transformer = _tiny.Untrained();
        var view = transformer.Transform(_tiny.Prompts("a"));
        transformer.Dispose();
        transformer.Dispose();
        Assert.ThrowsExactly<ObjectDisposedException>(() => TinyPipeline.Videos(view));
        Assert.ThrowsExactly<ObjectDisposedException>(() => _tiny.ML.Model.Save(transformer, null, new MemoryStream()));
        Assert.IsGreaterThan(0, transformer.ParameterCount);
    }

    [TestMethod]
    public void Dispose_OfOneOfTwo_LeavesTheOtherAsItWas()
    {
        var first = _tiny.Untrained(options => options.Seed = 1);
        using var second = _tiny.Untrained(options => options.Seed = 2);
        var expected = TinyPipeline.Videos(second.Transform(_tiny.Prompts("a"))).Single();
        TinyPipeline.Videos(first.Transform(_tiny.Prompts("a")));
        TinyPipeline.AssertSame(expected, TinyPipeline.Videos(second.Transform(_tiny.Prompts("a"))).Single());
        first.Dispose();
        TinyPipeline.AssertSame(expected, TinyPipeline.Videos(second.Transform(_tiny.Prompts("a"))).Single());
    }

    [TestMethod]
    public void Generate_OnTwoTransformersAtOnce_EachAsIfAlone()
    {
        using var first = _tiny.Untrained(options => options.Seed = 1);
        using var second = _tiny.Untrained(options => options.Seed = 2);
        TextToVideoTransformer[] both = [first, second];
        VideoClip Video(TextToVideoTransformer of) => TinyPipeline.Videos(of.Transform(_tiny.Prompts("a"))).Single();
        VideoClip[] alone = [.. both.Select(Video)];
        VideoClip[] together = [.. Enumerable.Range(0, 8).AsParallel().AsOrdered().Select(i => Video(both[i % 2]))];
        for (int i = 0; i < 8; i++)
            TinyPipeline.AssertSame(alone[i % 2], together[i]);
    }

    [TestMethod]
    public void Transform_ContextCancelled_Stops()
    {
        using var transformer = _tiny.Untrained();
        var view = transformer.Transform(_tiny.Prompts("a"));
        _tiny.Cancel();
        Assert.ThrowsExactly<OperationCanceledException>(() => TinyPipeline.Videos(view));
    }

    [TestMethod]
    public void Fit_ChainWithNormalizeTextAndSaveVideos_WritesTheFiles()
    {
        using var videos = new SmallVideos();
        var chain = _tiny.ML.Transforms.Text.NormalizeText("Caption", keepPunctuations: false)
            .Append(_tiny.Trainer())
            .Append(_tiny.ML.Transforms.SaveVideos("File", "Video", videos.Folder));
        var model = chain.Fit(_tiny.Clips());
        string[] files = [.. model.Transform(_tiny.Prompts("A!", "b")).GetColumn<string>("File")];
        model.Dispose();
        Assert.HasCount(2, files);
        foreach (string file in files)
            Assert.AreEqual(2, VideoReader.Read(file, new() { FrameCount = 2, Height = 16, Width = 16, ShortClip = ShortClip.Refuse }).FrameCount);
    }
}
