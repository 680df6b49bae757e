using System.Globalization;
using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Weights;

namespace Microsoft.ML.Mobius.Tests.Distributed;

/// <summary>Training by several processes, against training by one.</summary>
[TestClass]
public sealed class TrainingRanksTests
{
    private readonly TempFolder _folder = new();

    [TestCleanup]
    public void RemoveFiles() => _folder.Dispose();

    [TestMethod]
    [DataRow(2, "StreamParallel", 6)]
    [DataRow(4, "StreamParallel", 6)]
    [DataRow(2, "Serial", 6)]
    public void Train_SeveralRanks_IsOneProcessWithAccumulation(int ranks, string layout, int steps)
    {
        string one = Train(1, "one", $"accumulation={ranks}", $"steps={steps}", $"layout={layout}");
        string several = Train(ranks, "several", $"steps={steps}", $"layout={layout}");
        AssertLike(one, several);
    }

    [TestMethod, TestCategory("Heavy")]
    [DataRow(2)]
    [DataRow(4)]
    public void Train_HundredSteps_IsOneProcessWithAccumulation(int ranks)
        => AssertLike(Train(1, "one", $"accumulation={ranks}", "steps=100"), Train(ranks, "several", "steps=100"));

    [TestMethod]
    public void Train_Accumulated_IsOneProcessBitForBitAndSoIsItAgain()
    {
        string one = Train(1, "one", "accumulation=4", "steps=5", "threads=2", "recompute=1"), two = Train(2, "two", "accumulation=2", "steps=5", "threads=2", "recompute=1");
        string again = Train(2, "again", "accumulation=2", "steps=5", "threads=2", "recompute=1");
        AssertLike(one, two);
        AssertSame(two, again);
    }

    [TestMethod]
    public void Train_ResumedByFewerAndMoreRanks_GoesOnAtTheSamePlace()
    {
        string whole = Train(2, "whole", "steps=6", "ema=0.9");
        Train(2, "parts", "steps=6", "ema=0.9", "every=2");
        foreach (int step in new[] { 4, 6 })
            Directory.Delete(_folder.File($"parts/checkpoints/step-{step:D8}"), recursive: true);
        using (var resumed = Ranks.Run(3, "train", _folder.File("parts"), "steps=6", "ema=0.9", "every=2", "resume=1").Succeeded())
            Assert.Contains("Resumed after step 2", resumed.Output);
        AssertLike(whole, _folder.File("parts"));
        foreach (int step in new[] { 4, 6 })
            Directory.Delete(_folder.File($"parts/checkpoints/step-{step:D8}"), recursive: true);
        AssertLike(whole, Train(1, "parts", "steps=6", "ema=0.9", "every=2", "resume=1"));
    }

    [TestMethod]
    public void Fit_TwoRanks_ShareTheCacheAndEndAlike()
    {
        using var ranks = Ranks.Run(2, "fit", _folder.File("fit")).Succeeded();
        string[] ends = [.. ranks.Lines("rank 0 has "), .. ranks.Lines("rank 1 has ")];
        Assert.HasCount(2, ends, ranks.Output);
        Assert.AreEqual(ends[0], ends[1]);
        Assert.Contains("5 of 5 rows' latents were cached", ranks.Output);
        using var one = Ranks.Run(1, "fit", _folder.File("one"), "accumulation=2").Succeeded();
        Assert.AreEqual(one.Lines("rank 0 has ").Single(), ends[0]);
        Assert.Contains("rank 1: ", File.ReadAllText(Directory.GetFiles(_folder.File("fit"), "*.rank-1.log", SearchOption.AllDirectories).Single()));
    }

    private string Train(int ranks, string run, params string[] arguments)
    {
        string folder = _folder.File(run);
        Directory.CreateDirectory(folder);
        using var job = Ranks.Run(ranks, ["train", folder, .. arguments]).Succeeded();
        Assert.HasCount(1, Enumerable.Range(0, ranks).SelectMany(rank => job.Lines($"rank {rank} has ")).Distinct().ToArray(), job.Output);
        return folder;
    }

    private static void AssertSame(string one, string other)
    {
        foreach (string file in new[] { "losses.txt", "weights.safetensors" })
            CollectionAssert.AreEqual(File.ReadAllBytes(Path.Combine(one, file)), File.ReadAllBytes(Path.Combine(other, file)), file);
    }

    /// <summary>Losses within 1e-6 of their size, weights within 1e-5.</summary>
    private static void AssertLike(string one, string other)
    {
        double[] Losses(string run) => [.. File.ReadLines(Path.Combine(run, "losses.txt")).Select(line => double.Parse(line, CultureInfo.InvariantCulture))];
        var (expected, actual) = (Losses(one), Losses(other));
        Assert.HasCount(expected.Length, actual);
        double worst = expected.Zip(actual, (a, b) => Math.Abs(a - b) / a).Max();
        double apart = 0;
        using (var scope = TorchSharp.torch.NewDisposeScope())
        {
            using var first = File.OpenRead(Path.Combine(one, "weights.safetensors"));
            using var second = File.OpenRead(Path.Combine(other, "weights.safetensors"));
            var (a, b) = (Safetensors.Read(first), Safetensors.Read(second));
            foreach (var (name, weight) in a)
                apart = Math.Max(apart, (weight - b[name]).abs().max().item<float>());
            foreach (var weight in a.Values.Concat(b.Values))
                weight.Dispose();
        }
        Console.WriteLine($"Losses differ by {worst:E1} of their size, weights by {apart:E1}.");
        Assert.IsLessThanOrEqualTo(1e-6, worst);
        Assert.IsLessThanOrEqualTo(1e-5, apart);
    }
}
