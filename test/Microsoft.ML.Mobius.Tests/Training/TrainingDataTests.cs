using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.Video;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Training;

[TestClass]
public sealed class TrainingDataTests
{
    [TestMethod]
    public void Split_RowsOfSeveralClips_StayTogether()
    {
        using var model = Tiny.Video();
        using var data = new TrainingData(model);
        for (int row = 0; row < 10; row++)
            data.Add($"{row}", [Latents(), Latents(), Latents()]);
        var (heldOut, trained) = data.Split(0.3, new TrainingRandom(1));
        Assert.HasCount(9, heldOut);
        CollectionAssert.AreEquivalent(Enumerable.Range(0, 30).ToArray(), heldOut.Concat(trained).ToArray());
        Assert.IsEmpty(heldOut.Select(clip => clip / 3).Intersect(trained.Select(clip => clip / 3)));
        Assert.HasCount(3, data.Split(1 - 1e-9, new TrainingRandom(1)).Trained);
    }

    [TestMethod]
    public void Run_ClipsOfSeveralShapes_TrainsAndMeasures()
    {
        using var model = Tiny.Video(told: true);
        using var data = Tiny.Clips(model, 4);
        for (int i = 0; i < 4; i++)
        {
            data.Add($"picture {i}", SmallVideos.Gradient(1, 16, 16));
            data.Add($"wide {i}", SmallVideos.Gradient(3, 16, 32));
        }
        var history = TrainingLoop.Run(model, data, new TrainingSettings { Steps = 9, BatchSize = 3, HeldOutFraction = 0.25, EvaluateEvery = 0 });
        Assert.HasCount(9, history.Losses);
        Assert.IsTrue(history.HeldOut.All(point => double.IsFinite(point.Loss)));
    }

    [TestMethod]
    public void Add_LongClip_IsEncodedInPartsOfTheSameLatents()
    {
        using var model = Tiny.Video();
        var clip = SmallVideos.Gradient(70, 16, 16);
        using var whole = ClipLatents.Of(model, clip);
        using var end = ClipLatents.Of(model, clip.Window(40, 30, ShortClip.Hold));
        using var scope = NewDisposeScope();
        CollectionAssert.AreEqual(new long[] { 4, 70, 8, 8 }, whole.Mean.shape);
        Assert.IsTrue(Close.Apart(whole.Mean[.., 40..], end.Mean) < 1e-4);
    }

    [TestMethod]
    public void Hash_OtherCaptionsPixelsOrOrder_IsAnother()
    {
        using var model = Tiny.Video();
        string Hash(params (string Caption, VideoClip Clip)[] rows)
        {
            using var data = new TrainingData(model);
            foreach (var (caption, clip) in rows)
                data.Add(caption, clip);
            return data.Hash;
        }

        var (a, b) = (SmallVideos.Gradient(1, 16, 16), SmallVideos.Gradient(2, 16, 16));
        string[] hashes = [Hash(("x", a)), Hash(("y", a)), Hash(("x", b)), Hash(("x", a), ("x", b)), Hash(("x", b), ("x", a))];
        CollectionAssert.AllItemsAreUnique(hashes);
        Assert.AreEqual(hashes[0], Hash(("x", a)));
    }

    private static ClipLatents Latents() => new(zeros(4, 1, 2, 2).DetachFromDisposeScope(), ones(4, 1, 2, 2).DetachFromDisposeScope(), "");
}
