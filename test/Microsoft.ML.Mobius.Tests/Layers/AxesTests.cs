using Microsoft.ML.Mobius.Layers;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Layers;

[TestClass]
public sealed class AxesTests
{
    [TestMethod]
    public void FramesToBatch_AndBack_IsTheSameVideo()
    {
        using var scope = NewDisposeScope();
        var video = randn([2, 3, 4, 5, 6]);
        var images = Axes.FramesToBatch(video);
        CollectionAssert.AreEqual(new long[] { 8, 3, 5, 6 }, images.shape);
        Close.Assert(video[1, .., 2], images[1 * 4 + 2], 0);
        Close.Assert(video, Axes.BatchToFrames(images, 4), 0);
    }

    [TestMethod]
    public void PositionsToBatch_AndBack_IsTheSameVideo()
    {
        using var scope = NewDisposeScope();
        var video = randn([2, 3, 4, 5, 6]);
        var sequences = Axes.PositionsToBatch(video);
        CollectionAssert.AreEqual(new long[] { 60, 4, 3 }, sequences.shape);
        Close.Assert(video[1, .., 2, 3, 4], sequences[1 * 30 + 3 * 6 + 4, 2], 0);
        Close.Assert(Axes.FramesToBatch(video), Axes.PositionsToFrames(sequences, 5, 6), 0);
    }
}
