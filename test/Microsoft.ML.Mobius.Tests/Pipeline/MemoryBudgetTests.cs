using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.UNet;

namespace Microsoft.ML.Mobius.Tests.Pipeline;

[TestClass]
public sealed partial class MemoryBudgetTests
{
    private const int Batch = 64;

    private readonly TinyPipeline _tiny = new();

    /// <summary>The embedded model, which must not be opened: what would fit is known before.</summary>
    private static PretrainedModel Unopened => PretrainedModel.Embedded() with { Open = () => throw new AssertFailedException("The model was opened.") };

    [TestMethod]
    [DataRow(UNetLayout.StreamParallel)]
    [DataRow(UNetLayout.Serial)]
    public void MemoryBudget_OfWhatKeptActivationsTake_KeepsThem(UNetLayout layout)
    {
        long kept = Peak(layout, recompute: false);
        Assert.AreEqual(kept, Peak(layout, recompute: null, budget: Mebibytes(kept)));
    }

    [TestMethod]
    [DataRow(UNetLayout.StreamParallel)]
    [DataRow(UNetLayout.Serial)]
    public void MemoryBudget_BelowThat_RecomputesInAnyLayout(UNetLayout layout)
    {
        long kept = Peak(layout, recompute: false), recomputed = Peak(layout, recompute: true);
        Assert.IsLessThan(kept, recomputed);
        foreach (int budget in new[] { Mebibytes(kept) - 1, Mebibytes(recomputed) + 1 })
            Assert.IsLessThanOrEqualTo(budget, Mebibytes(Peak(layout, recompute: null, budget)));
        if (layout == UNetLayout.Serial)
            Assert.AreEqual(recomputed, Peak(layout, recompute: null, budget: Mebibytes(kept) - 1), "Of one layer or of all.");
        Assert.AreEqual(kept, Peak(layout, recompute: false, budget: Mebibytes(kept) - 1), "What is asked for counts more.");
    }

    [TestMethod]
    public void Fit_OverTheBudget_IsRefusedBeforeTheModelIsOpenedAndSaysWhatFits()
    {
        int budget = Mebibytes(Peak(UNetLayout.StreamParallel, recompute: true)) * 3 / 4;
        string message = Refusal(options => options.MemoryBudget = budget);
        Assert.Contains($"The memory budget is {budget.ToString("N0", CultureInfo.InvariantCulture)} MiB, but the least", message);
        Assert.Contains("What would fit:", message);
        Assert.Contains("BatchSize 32 with GradientAccumulationSteps 2", message);
        var told = Amount().Matches(message[message.IndexOf("What would fit", StringComparison.Ordinal)..]);
        Assert.IsGreaterThanOrEqualTo(2, told.Count);
        foreach (Match amount in told)
            Assert.IsLessThanOrEqualTo(budget, int.Parse(amount.Groups[1].Value, NumberStyles.AllowThousands, CultureInfo.InvariantCulture));
    }

    [TestMethod]
    public void Fit_WhatItSaidWouldFit_Fits()
    {
        int budget = Mebibytes(Peak(UNetLayout.StreamParallel, recompute: true)) * 3 / 4;
        long peak = Trainer(options => (options.MemoryBudget, options.BatchSize, options.GradientAccumulationSteps) = (budget, 32, 2)).EstimateMemory().PeakBytes;
        Assert.IsLessThanOrEqualTo(budget, Mebibytes(peak));
    }

    [TestMethod]
    public void Fit_NothingFits_SaysWhatEachChangeComesTo()
    {
        string message = Refusal(options => (options.MemoryBudget, options.EmaDecay, options.RecomputeActivations, options.Layout) = (1, 0.9, false, UNetLayout.Serial));
        foreach (string said in new[]
        {
            "No change of one kind would fit", "RecomputeActivations true (", "EmaDecay 0 (", "BatchSize 1 with GradientAccumulationSteps 64 (", "Layout StreamParallel (",
            "FrameCount 1 (", "Height 32 and Width 32 (", "all of them to ",
        })
            Assert.Contains(said, message);
        Assert.DoesNotContain("TemporalWidthDivisor", message, "Serial has none.");
    }

    [TestMethod]
    public void Fit_WithinTheBudget_TellsWhatItChose()
    {
        _tiny.Trainer(options => options.MemoryBudget = 1 << 20).Fit(_tiny.Clips()).Dispose();
        Assert.IsTrue(_tiny.Logged("Info", "MemoryBudget is 1,048,576 MiB: activations are kept."));
    }

    [TestMethod]
    public void Fit_WithoutSteps_NeedsNoMemory() => _tiny.Untrained(options => options.MemoryBudget = 1).Dispose();

    [TestMethod]
    public void MemoryBudget_OfNothing_IsRefused()
    {
        string message = Assert.ThrowsExactly<ArgumentException>(() => _tiny.Trainer(options => options.MemoryBudget = 0)).Message;
        Assert.Contains("MemoryBudget is 0; at least 1 MiB is needed.", message);
    }

    private static int Mebibytes(long bytes) => (int)(bytes >> 20);

    private static long Peak(UNetLayout layout, bool? recompute, int? budget = null) => Trainer(options =>
        (options.Layout, options.RecomputeActivations, options.MemoryBudget) = (layout, recompute, budget)).EstimateMemory().PeakBytes;

    private static TextToVideoTrainer Trainer(Action<TextToVideoTrainer.Options> change)
    {
        var options = new TextToVideoTrainer.Options { BatchSize = Batch };
        change(options);
        return new TextToVideoTrainer(new MLContext(1), options, Unopened);
    }

    private string Refusal(Action<TextToVideoTrainer.Options> change)
        => Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => Trainer(change).Fit(_tiny.Clips())).Message;

    [GeneratedRegex(@"\(([\d,]+) MiB\)")]
    private static partial Regex Amount();
}
