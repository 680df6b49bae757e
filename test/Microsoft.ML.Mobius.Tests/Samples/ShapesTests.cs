using Microsoft.ML.Mobius.Samples.Shapes;
using Microsoft.ML.Mobius.Shapes;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Tests.Samples;

[TestClass]
public sealed class ShapesTests
{
    private const int FrameBytes = ShapeSpec.Height * ShapeSpec.Width * 3;

    [TestMethod]
    public void ShapeSpec_Combinations_AFifthIsNeverTrainedAndEveryPairOfAttributesIs()
    {
        Assert.AreEqual(144, ShapeSpec.All.Count);
        Assert.AreEqual(29, ShapeSpec.NeverTrained.Count);
        Assert.AreEqual(115, ShapeSpec.Trained.Count);
        Assert.IsTrue(new ShapeCombination(0, 0, 0).IsNeverTrained);
        Assert.AreEqual(6 * 4, ShapeSpec.Trained.Select(c => (c.Colour, c.Shape)).Distinct().Count());
        Assert.AreEqual(6 * 6, ShapeSpec.Trained.Select(c => (c.Colour, c.Motion)).Distinct().Count());
        Assert.AreEqual(4 * 6, ShapeSpec.Trained.Select(c => (c.Shape, c.Motion)).Distinct().Count());
    }

    [TestMethod]
    public void TryParse_EveryCaption_GivesItsCombination()
    {
        foreach (ShapeCombination combination in ShapeSpec.All)
        {
            Assert.IsTrue(ShapeSpec.TryParse(combination.Caption, out ShapeCombination parsed));
            Assert.AreEqual(combination, parsed);
        }
        Assert.AreEqual("a red cross moving up", new ShapeCombination(0, 3, 2).Caption);
        Assert.IsFalse(ShapeSpec.TryParse("a purple cross moving up", out _));
        Assert.IsFalse(ShapeSpec.TryParse(null, out _));
    }

    [TestMethod]
    public void Measure_ListedVideos_TellsAttributesLoopsAndMotion()
    {
        using var files = new SmallVideos();
        var combination = ShapeSpec.All.First(c => c.MotionName == "moving right");
        byte[] pixels = ShapeClip.Sample(new Random(3), combination).Render();
        var forth = new VideoClip(pixels, ShapeSpec.FrameCount, 64, 64, 8);
        var back = new VideoClip([.. Enumerable.Range(0, ShapeSpec.FrameCount).Reverse().SelectMany(f => forth.Frame(f).ToArray())], ShapeSpec.FrameCount, 64, 64, 8);
        VideoWriter.Write(files.PathOf("forth.png"), forth);
        VideoWriter.Write(files.PathOf("back.png"), back);
        string Listed(string name) => $$"""
            { "path": "{{files.PathOf(name)}}", "prompt": "{{combination.Caption}}", "frames": 8, "width": 64, "height": 64, "frameRate": 8, "seed": 0 }
            """;
        File.WriteAllText(files.PathOf("list.json"), $$"""{ "videos": [{{Listed("forth.png")}}, {{Listed("back.png")}}], "seconds": 1 }""");

        var videos = MeasuredVideos.Read(files.PathOf("list.json"));

        Assert.Contains("| all | 2 | 100.0 % | 100.0 % | 50.0 % | 50.0 % |", videos.Report(1));
        Assert.Contains("in 0 of 2 videos", videos.Report(1));
        File.WriteAllText(files.PathOf("captions.jsonl"), $$"""{ "video": "forth.png", "caption": "{{combination.Caption}}" }""");
        Assert.Contains("| all | 1 | 100.0 % | 100.0 % | 100.0 % | 100.0 % |", MeasuredVideos.Read(files.Folder).Report(1));
        Assert.Contains("Motion: 7 of 14 steps go on", videos.Report(1));
        Assert.Contains("Motion: 1 of 2 steps go on", videos.Report(4));
        Assert.Contains("1 of 2 from the mean of 4 frames to that of the next 4", videos.Report(4));
        File.WriteAllText(files.PathOf("list.json"), """{ "videos": [] }""");
        Assert.Contains("list.json", Assert.ThrowsExactly<InvalidDataException>(() => MeasuredVideos.Read(files.PathOf("list.json"))).Message);
    }

    [TestMethod]
    public void Sample_SameSeed_GivesTheSamePixels() =>
        CollectionAssert.AreEqual(
            ShapeClip.Sample(new Random(3), ShapeSpec.All[40]).Render(), ShapeClip.Sample(new Random(3), ShapeSpec.All[40]).Render());

    [TestMethod]
    public void Sample_AnyCombination_KeepsToTheSpec()
    {
        var random = new Random(1);
        for (int i = 0; i < 2000; i++)
        {
            ShapeClip clip = ShapeClip.Sample(random, ShapeSpec.All[i % ShapeSpec.All.Count]);
            foreach (ShapePlace p in clip.Places)
                Assert.IsTrue(p.CentreX >= p.Radius && p.CentreX <= 64 - p.Radius && p.CentreY >= p.Radius && p.CentreY <= 64 - p.Radius, $"{clip.Combination} {p}");
            ShapePlace first = clip.Places[0], last = clip.Places[^1];
            double shift = Math.Abs(last.CentreX - first.CentreX) + Math.Abs(last.CentreY - first.CentreY);
            if (clip.Combination.Motion < 4)
            {
                Assert.IsTrue(shift is >= 17.999 and <= 28.001, $"{shift}");
                Assert.IsTrue(first.Radius is >= 7 and <= 11);
                Assert.AreEqual(first.Radius, last.Radius);
                continue;
            }
            Assert.AreEqual(0, shift);
            (double small, double large) = clip.Combination.Motion == 4 ? (first.Radius, last.Radius) : (last.Radius, first.Radius);
            Assert.IsTrue(small is >= 5.999 and <= 8.001 && large is >= 13.999 and <= 17.001, $"{small} {large}");
        }
    }

    [TestMethod]
    [DataRow(0, Math.PI), DataRow(1, 4.0), DataRow(2, 2.0), DataRow(3, 20.0 / 9)]
    public void Draw_BetweenPixels_CoversTheAreaOfTheShapeInItsColour(int shape, double unitArea)
    {
        var rgb = new byte[FrameBytes];
        foreach (double offset in new[] { 0, 0.3, 0.77 })
        {
            ShapeRenderer.Draw(rgb, new ShapeCombination(0, shape, 0), 30 + offset, 31 + offset, 9.4);
            double covered = rgb.Where((_, i) => i % 3 == 1).Sum(green => (255 - green) / 215.0);
            Assert.AreEqual(unitArea * 9.4 * 9.4, covered, 0.02 * covered);
        }
        int middle = (31 * 64 + 30) * 3;
        CollectionAssert.AreEqual(new byte[] { 220, 40, 40 }, rgb[middle..(middle + 3)]);
        Assert.AreEqual(255, rgb[0]);
        Assert.ThrowsExactly<ArgumentException>(() => ShapeRenderer.Draw(new byte[12], default, 1, 1, 1));
    }

    [TestMethod]
    [DataRow(false, DisplayName = "clean"), DataRow(true, DisplayName = "blurred and noisy")]
    public void Evaluate_DrawnClips_FindsEveryAttribute(bool spoiled)
    {
        var random = new Random(11);
        int right = 0;
        for (int i = 0; i < 60; i++)
        {
            ShapeCombination combination = ShapeSpec.All[random.Next(ShapeSpec.All.Count)];
            byte[] pixels = ShapeClip.Sample(random, combination).Render();
            right += Evaluate(spoiled ? Spoil(pixels, random) : pixels, combination).All ? 1 : 0;
        }
        Assert.IsTrue(right >= 59, $"{right} of 60");
    }

    [TestMethod]
    public void Evaluate_AnotherCombination_IsWrongInThoseAttributes()
    {
        byte[] pixels = ShapeClip.Sample(new Random(2), new ShapeCombination(4, 2, 1)).Render();
        AttributeScores scores = Evaluate(pixels, new ShapeCombination(0, 2, 4));
        Assert.AreEqual((false, true, false), (scores.Colour, scores.Shape, scores.Motion));
        Assert.AreEqual(("blue", "triangle", "moving right"), (scores.FoundColour, scores.FoundShape, scores.FoundMotion));
    }

    [TestMethod]
    public void Evaluate_FrozenClip_IsStillAndWrong()
    {
        foreach (ShapeCombination combination in ShapeSpec.NeverTrained)
        {
            byte[] pixels = ShapeClip.Sample(new Random(4), combination).Render();
            for (int frame = 1; frame < ShapeSpec.FrameCount; frame++)
                pixels.AsSpan(0, FrameBytes).CopyTo(pixels.AsSpan(frame * FrameBytes));
            AttributeScores scores = Evaluate(pixels, combination);
            Assert.IsTrue(scores is { Colour: true, Shape: true, Motion: false, FoundMotion: AttributeEvaluator.Still }, $"{scores}");
        }
    }

    [TestMethod]
    public void Evaluate_HalfOfTheFramesEmpty_IsTolerated_MoreIsNot()
    {
        byte[] pixels = ShapeClip.Sample(new Random(5), ShapeSpec.All[9]).Render();
        pixels.AsSpan(2 * FrameBytes, 4 * FrameBytes).Fill(255);
        Assert.IsTrue(Evaluate(pixels, ShapeSpec.All[9]).All);
        pixels.AsSpan(0, FrameBytes).Fill(255);
        AttributeScores scores = Evaluate(pixels, ShapeSpec.All[9]);
        Assert.AreEqual((false, false, false, 5), (scores.Colour, scores.Shape, scores.Motion, scores.EmptyFrames));
    }

    [TestMethod]
    public void Evaluate_NoiseOnly_FindsNothing()
    {
        var pixels = new byte[ShapeSpec.FrameCount * FrameBytes];
        new Random(6).NextBytes(pixels);
        AttributeScores scores = Evaluate(pixels, ShapeSpec.All[0]);
        Assert.AreEqual((AttributeEvaluator.None, AttributeEvaluator.None), (scores.FoundShape, scores.FoundMotion));
        Assert.IsFalse(scores.Motion);
    }

    [TestMethod]
    public void Table_MixedScores_GivesSharesOfSeenAndNeverTrained()
    {
        byte[] pixels = ShapeClip.Sample(new Random(7), ShapeSpec.Trained[0]).Render();
        string table = AttributeScores.Table([Evaluate(pixels, ShapeSpec.Trained[0]), Evaluate(pixels, ShapeSpec.NeverTrained[^1])]);
        StringAssert.Contains(table, "| seen in training | 1 | 100.0 % | 100.0 % | 100.0 % | 100.0 % |");
        StringAssert.Contains(table, "| never trained | 1 | 0.0 %");
    }

    [TestMethod]
    public void Choose_48Prompts_HalfNeverTrainedAndBalanced()
    {
        IReadOnlyList<ShapeCombination> prompts = PromptSet.Choose(new Random(0), 48);
        Assert.AreEqual(48, prompts.Distinct().Count());
        Assert.AreEqual(24, prompts.Count(c => c.IsNeverTrained));
        Assert.IsTrue(prompts.GroupBy(c => c.Colour).All(g => g.Count() is >= 6 and <= 10));
        Assert.IsTrue(prompts.GroupBy(c => c.Shape).All(g => g.Count() is >= 10 and <= 14));
        Assert.IsTrue(prompts.GroupBy(c => c.Motion).All(g => g.Count() is >= 6 and <= 10));
        CollectionAssert.AreEqual(prompts.ToArray(), PromptSet.Choose(new Random(0), 48).ToArray());
    }

    [TestMethod]
    public void Draw_Folder_IsBalancedOverTheTrainedCombinations()
    {
        IReadOnlyList<ShapeClip> clips = ClipFolder.Draw(600, 0);
        Assert.IsFalse(clips.Any(c => c.Combination.IsNeverTrained));
        int[] counts = [.. clips.GroupBy(c => c.Combination).Select(g => g.Count())];
        Assert.AreEqual(115, counts.Length);
        Assert.IsTrue(counts.Max() - counts.Min() <= 1);
    }

    [TestMethod]
    public void Write_Folder_ClipsAreRecognisedAfterCompression()
    {
        string folder = Path.Combine(Path.GetTempPath(), $"shapes-{Guid.NewGuid():N}");
        try
        {
            ClipFolder.Write(folder, 12, seed: 1);
            string[] lines = File.ReadAllLines(Path.Combine(folder, "captions.jsonl"));
            Assert.AreEqual(12, lines.Length);
            Assert.AreEqual(13, Directory.GetFiles(folder).Length);
            foreach ((ShapeClip drawn, int i) in ClipFolder.Draw(12, 1).Select((clip, i) => (clip, i)))
            {
                Assert.AreEqual($$"""{"video":"{{i:D4}}.mp4","caption":"{{drawn.Combination.Caption}}"}""", lines[i]);
                VideoClip clip = VideoReader.Read(Path.Combine(folder, $"{i:D4}.mp4"));
                AttributeScores scores = AttributeEvaluator.Evaluate(clip.Pixels.Span, clip.FrameCount, clip.Height, clip.Width, drawn.Combination);
                Assert.IsTrue(scores.All, $"{scores}");
            }
        }
        finally
        {
            if (Directory.Exists(folder))
                Directory.Delete(folder, recursive: true);
        }
    }

    private static AttributeScores Evaluate(byte[] pixels, ShapeCombination combination) =>
        AttributeEvaluator.Evaluate(pixels, ShapeSpec.FrameCount, ShapeSpec.Height, ShapeSpec.Width, combination);

    // A mean over 3 pixels in both directions, weights 1 2 1, and Gaussian noise of 12 levels.
    private static byte[] Spoil(byte[] pixels, Random random)
    {
        var spoiled = new byte[pixels.Length];
        for (int i = 0; i < pixels.Length; i++)
        {
            int frame = i / FrameBytes, y = i % FrameBytes / 192, x = i % 192 / 3, channel = i % 3;
            double sum = 0;
            for (int dy = -1; dy <= 1; dy++)
                for (int dx = -1; dx <= 1; dx++)
                    sum += pixels[frame * FrameBytes + Math.Clamp(y + dy, 0, 63) * 192 + Math.Clamp(x + dx, 0, 63) * 3 + channel]
                        * (2 - Math.Abs(dx)) * (2 - Math.Abs(dy)) / 16.0;
            double noise = Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(Math.Tau * random.NextDouble());
            spoiled[i] = (byte)Math.Clamp(sum + 12 * noise, 0, 255);
        }
        return spoiled;
    }
}
