using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.ML.Mobius.Sampling;
using Microsoft.ML.Mobius.UNet;

namespace Microsoft.ML.Mobius.Tests.Pipeline;

[TestClass]
public sealed partial class GenerationMemoryTests
{
    private readonly TinyPipeline _tiny = new();

    [TestMethod]
    public void EstimateMemory_HasTheWeightsAndTheVideo()
    {
        using var model = _tiny.Untrained();
        var estimate = model.EstimateMemory(model.Generation with { FrameCount = 5, Height = 32, Width = 16 });
        Assert.AreEqual(4 * model.ParameterCount, estimate.Weights);
        Assert.AreEqual(5 * 32 * 16 * 3, estimate.Video);
        Assert.AreEqual(estimate.Weights + Math.Max(estimate.Denoising, estimate.Decoding) + estimate.Video, estimate.PeakBytes);
        Assert.Contains("MiB at the peak (weights ", $"{estimate}");
    }

    [TestMethod]
    [DataRow(UNetLayout.Serial)]
    [DataRow(UNetLayout.LayerParallel)]
    [DataRow(UNetLayout.StreamParallel)]
    public void EstimateMemory_GrowsWithTheVideo_AndWithWindowsHardly(UNetLayout layout)
    {
        using var model = _tiny.Untrained(options => options.Layout = layout);
        var large = model.Generation with { FrameCount = 16, Height = 256, Width = 256 };
        GenerationEstimate Of(GenerationOptions how) => model.EstimateMemory(how);
        Assert.IsGreaterThan(Of(large with { FrameCount = 8 }).Denoising * 5 / 4, Of(large with { FrameCount = 32 }).Denoising);
        Assert.IsGreaterThan(Of(large with { Width = 128 }).Decoding, Of(large).Decoding);
        Assert.IsLessThan(Of(large).Denoising, Of(large with { GuidanceInTurn = true }).Denoising);
        Assert.AreEqual(Of(large with { GuidanceScale = 1 }).Denoising, Of(large with { GuidanceInTurn = true }).Denoising);
        Assert.IsLessThan(Of(large).Decoding, Of(large with { DecodeRows = 16 }).Decoding);
        var windows = large with { FrameWindow = 8 };
        Assert.IsLessThan(Of(windows).Denoising * 5 / 4, Of(windows with { FrameCount = 64 }).Denoising, "Of so many windows one is there at a time.");
        if (layout == UNetLayout.StreamParallel)
        {
            using var apart = _tiny.Untrained(options => options.JoinedLevels = 0);
            Assert.IsLessThan(apart.EstimateMemory(large).Denoising, apart.EstimateMemory(large with { SpatialFrameChunk = 2 }).Denoising);
            Assert.IsGreaterThan(Of(large).Denoising, Of(large with { DeepCacheInterval = 2 }).Denoising);
        }
    }

    [TestMethod]
    public void MemoryBudget_TakesTheMeansThatItNeeds_AndTheVideoIsTheSame()
    {
        using var model = _tiny.Untrained();
        var large = model.Generation with { Height = 128, Width = 128, SamplingSteps = 1 };
        long usual = model.EstimateMemory(large).PeakBytes, least = model.EstimateMemory(large with { GuidanceInTurn = true, SpatialFrameChunk = 1, DecodeRows = 8 }).PeakBytes;
        var expected = model.Generate("a fox", large);
        foreach (int budget in new[] { Mebibytes(usual), Mebibytes((usual + least) / 2), Mebibytes(least) })
        {
            var within = large with { MemoryBudget = budget };
            Assert.IsLessThanOrEqualTo(budget, Mebibytes(model.EstimateMemory(within).PeakBytes));
            Assert.IsGreaterThan(45, SmallVideos.Psnr(expected, model.Generate("a fox", within)));
        }
        Assert.AreEqual(usual, model.EstimateMemory(large with { MemoryBudget = Mebibytes(usual) }).PeakBytes, "It saves where there is no need.");
        Assert.IsLessThan(usual, least);
    }

    [TestMethod]
    public void MemoryBudget_TooSmall_IsRefusedAndSaysWhatFits()
    {
        using var model = _tiny.Untrained();
        var large = model.Generation with { FrameCount = 64, Height = 256, Width = 256 };
        int budget = Mebibytes(model.EstimateMemory(large with { FrameWindow = 8, GuidanceInTurn = true, SpatialFrameChunk = 1, DecodeRows = 8 }).PeakBytes) + 1;
        string message = Assert.ThrowsExactly<ArgumentException>(() => model.Generation = large with { MemoryBudget = budget }).Message;
        Assert.Contains($"MemoryBudget is {budget.ToString("N0", CultureInfo.InvariantCulture)} MiB, but the least", message);
        int window = int.Parse(Window().Match(message).Groups[1].Value, CultureInfo.InvariantCulture);
        Assert.IsInRange(8, 32, window);
        Assert.IsLessThanOrEqualTo(budget, Mebibytes(model.EstimateMemory(large with { MemoryBudget = budget, FrameWindow = window }).PeakBytes));
        Assert.Contains("MemoryBudget is 0; at least 1", Assert.ThrowsExactly<ArgumentException>(() => model.EstimateMemory(large with { MemoryBudget = 0 })).Message);
        Assert.Contains("no smaller size would fit", Assert.ThrowsExactly<ArgumentException>(
            () => model.Generate("a fox", model.Generation with { FrameCount = 100, Height = 1024, Width = 1024, MemoryBudget = 1 })).Message);
    }

    /// <summary>Each in a process of its own. A bound: not far above what it takes, and hardly ever below.</summary>
    [TestMethod, TestCategory("Heavy")]
    [DataRow("default")]
    [DataRow("without-guidance")]
    [DataRow("windows-of-16")]
    public void EstimateMemory_OfTheSmallNetwork_IsABound(string way)
    {
        var (peak, estimated) = SmallMeasurement.Of(activity: 1, way);
        Assert.IsInRange(0.95 * peak, 1.3 * peak, estimated, $"{peak / (1 << 20):F0} MiB were measured, {estimated / (1 << 20):F0} MiB estimated.");
    }

    private static int Mebibytes(long bytes) => (int)(bytes >> 20);

    [GeneratedRegex(@"FrameWindow (\d+) \(")]
    private static partial Regex Window();
}
