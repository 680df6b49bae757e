using Microsoft.ML.Mobius.Diffusion;
using Microsoft.ML.Mobius.Sampling;
using Microsoft.ML.Mobius.UNet;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Sampling;

[TestClass]
public sealed class FrameWindowsTests
{
    /// <summary>Predicts of each frame which one it is of those that it sees.</summary>
    private static readonly Denoiser s_places = (z, _) => arange(z.shape[2], float32).reshape(1, 1, -1, 1, 1).expand(z.shape).clone();

    [TestMethod]
    public void Over_AllAtOnce_IsTheDenoiserItself()
    {
        Assert.AreSame(s_places, FrameWindows.Over(s_places, 8, window: 0, overlap: 0, loop: false));
        Assert.AreSame(s_places, FrameWindows.Over(s_places, 8, window: 9, overlap: 4, loop: false));
        Assert.AreSame(s_places, FrameWindows.Over(s_places, 8, window: 8, overlap: 4, loop: true));
    }

    [TestMethod]
    [DataRow(64, 8, 4, false, "0 4 8 12 16 20 24 28 32 36 40 44 48 52 56")]
    [DataRow(10, 8, 4, false, "0 2")]
    [DataRow(9, 4, 1, false, "0 3 5")]
    [DataRow(16, 8, 4, true, "0 4 8 12")]
    public void Starts_OfAClip_CoverIt(int frames, int length, int overlap, bool loop, string expected)
        => Assert.AreEqual(expected, string.Join(' ', FrameWindows.Starts(frames, length, length - overlap, loop)));

    [TestMethod]
    public void Over_Windows_AveragesByTheDistanceFromTheirEnds()
    {
        using var scope = NewDisposeScope();
        var places = FrameWindows.Over(s_places, frames: 6, window: 4, overlap: 2, loop: false)(zeros([1, 2, 6, 1, 1]), 0);
        // Frame 2 is number 2 of the first window, with weight 2, and number 0 of the second, with weight 1; frame 3 is 3 with 1 and 1 with 2.
        Close.Assert(tensor([0f, 1, 4f / 3, 5f / 3, 2, 3]), places[0, 1, .., 0, 0], 1e-6);
    }

    [TestMethod]
    public void Over_LoopWithWindows_GoesOnOverTheEndAndBeginsOneLaterWithEachCall()
    {
        using var scope = NewDisposeScope();
        var seen = new List<string>();
        var z = arange(6, float32).reshape(1, 1, 6, 1, 1);
        var denoise = FrameWindows.Over((z, _) =>
        {
            seen.Add(string.Join(' ', z.flatten().data<float>().ToArray()));
            return z.clone();
        }, frames: 6, window: 4, overlap: 2, loop: true);
        foreach (int _ in new[] { 0, 1 })
            Close.Assert(z, denoise(z, 0), 1e-6, "Each frame's own prediction goes back to it.");
        CollectionAssert.AreEqual(new[] { "0 1 2 3", "2 3 4 5", "4 5 0 1", "1 2 3 4", "3 4 5 0", "5 0 1 2" }, seen);
    }

    [TestMethod, TestCategory("Heavy")]
    public void Over_FourTimesTheFrames_TakesTheMemoryOfOneWindow()
    {
        var config = Tiny.UNet with { BlockOutChannels = [64, 64] };
        using var unet = VideoUNet.Around(Tiny.Spatial(config), config);
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        long Peak(int frames)
        {
            using var inner = NewDisposeScope();
            var (z, text) = (randn([1, 4, frames, 16, 16]), randn(2, 8, 16));
            var guided = Guidance.Guided((z, t, text) => unet.call(z, full([z.shape[0]], t, float32), text), text[..1], text[1..], 3);
            var denoise = FrameWindows.Over(guided, frames, window: 8, overlap: 4, loop: false);
            return PeakMemory.During(() => denoise(z, 500).Dispose());
        }

        Peak(16);
        long few = Peak(16), many = Peak(64);
        Assert.IsLessThanOrEqualTo(1.25 * few + (8 << 20), many, $"{few >> 20} MiB with 16 frames, {many >> 20} MiB with 64.");
    }
}
