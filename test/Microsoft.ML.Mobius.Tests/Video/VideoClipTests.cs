using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Tests.Video;

[TestClass]
public sealed class VideoClipTests
{
    [TestMethod]
    public void Constructor_CopiesThePixels()
    {
        var pixels = new byte[2 * 3 * 4 * 3];
        pixels[36] = 7;
        var clip = new VideoClip(pixels, 2, 3, 4, 5);
        pixels[36] = 8;

        Assert.AreEqual(7, clip.Frame(1)[0]);
        Assert.AreEqual(36, clip.Frame(1).Length);
        Assert.AreEqual(TimeSpan.FromSeconds(0.4), clip.Duration);
        Assert.AreEqual("2 frames of 4x3 at 5 frames/s", clip.ToString());
    }

    [TestMethod]
    public void Constructor_WrongLength_GivesBothLengths()
    {
        var e = Assert.ThrowsExactly<ArgumentException>(() => new VideoClip(new byte[10], 2, 3, 4, 5));
        StringAssert.Contains(e.Message, "72");
        StringAssert.Contains(e.Message, "10");
    }

    [TestMethod]
    [DataRow(0, 1, 1, 1.0)]
    [DataRow(1, 0, 1, 1.0)]
    [DataRow(1, 1, 0, 1.0)]
    [DataRow(1, 1, 1, 0.0)]
    [DataRow(1, 1, 1, double.PositiveInfinity)]
    public void Constructor_OutOfRange_Throws(int frames, int height, int width, double rate)
        => Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => new VideoClip(new byte[3], frames, height, width, rate));

    [TestMethod]
    public void Frame_OutOfRange_Throws()
        => Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => SmallVideos.Gradient().Frame(8).Length);
}
