using Microsoft.ML.Mobius.Training;

namespace Microsoft.ML.Mobius.Tests.Training;

[TestClass]
public sealed class ClipShapesTests
{
    [TestMethod]
    [DataRow(512, 512, 8, 64)]
    [DataRow(256, 256, 8, 32)]
    [DataRow(320, 576, 8, 40)]
    [DataRow(16, 16, 4, 4)]
    public void OfAspectRatios_Sizes_KeepToTheBudget(int height, int width, int factor, int step)
    {
        var sizes = ClipShapes.OfAspectRatios(height, width, factor);
        Assert.AreEqual((height, width), sizes[0]);
        CollectionAssert.AllItemsAreUnique(sizes.ToArray());
        foreach (var (h, w) in sizes.Skip(1))
        {
            Assert.IsTrue(h * w <= height * width && h % step == 0 && w % step == 0, $"{w}x{h}");
            Assert.IsTrue(h <= 2 * w && w <= 2 * h, $"{w}x{h}");
            Assert.IsTrue((h + step) * w > height * width || (w + step) * h > height * width, $"{w}x{h} could be larger.");
        }
        Assert.IsTrue(sizes.Any(size => size.Width > 1.5 * size.Height) && sizes.Any(size => size.Height > 1.5 * size.Width));
    }

    [TestMethod]
    public void SizeOf_AspectRatio_IsTheNearest()
    {
        var shapes = new ClipShapes([8], [(512, 512), (384, 640), (640, 384)]);
        Assert.AreEqual((512, 512), shapes.SizeOf(1.1));
        Assert.AreEqual((384, 640), shapes.SizeOf(16 / 9.0));
        Assert.AreEqual((640, 384), shapes.SizeOf(0.01));
    }

    [TestMethod]
    public void FramesOf_Lengths_IsTheLongestThatIsFilled()
    {
        var shapes = new ClipShapes([8, 1, 16], [(8, 8)]);
        CollectionAssert.AreEqual(new[] { 1, 1, 8, 8, 16, 16 }, new[] { 1, 7, 8, 15, 16, 99 }.Select(shapes.FramesOf).ToArray());
        Assert.AreEqual(4, new ClipShapes([4, 8], [(8, 8)]).FramesOf(1));
        Assert.AreEqual(16, shapes.Longest);
    }
}
