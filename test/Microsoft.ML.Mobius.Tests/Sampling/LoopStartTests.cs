using Microsoft.ML.Mobius.Sampling;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Tests.Sampling;

[TestClass]
public sealed class LoopStartTests
{
    /// <summary>A clip of one pixel of which the frames have these shades.</summary>
    private static VideoClip Shades(params byte[] shades) => new([.. shades.SelectMany(shade => new[] { shade, shade, shade })], shades.Length, 1, 1, 8);

    [TestMethod]
    [DataRow(new byte[] { 0, 40, 90, 95, 50 }, new byte[] { 95, 50, 0, 40, 90 })]
    [DataRow(new byte[] { 0, 40, 90, 50, 10 }, new byte[] { 0, 40, 90, 50, 10 })]
    [DataRow(new byte[] { 7 }, new byte[] { 7 })]
    public void Chosen_ALoop_BeginsWhereItIsStillest(byte[] loop, byte[] expected)
        => CollectionAssert.AreEqual(Shades(expected).Pixels.ToArray(), LoopStart.Chosen(Shades(loop)).Pixels.ToArray());
}
