using System.Diagnostics;

namespace Microsoft.ML.Mobius.Tests.Distributed;

/// <summary>One of several ranks fails: all end, and one message names it.</summary>
[TestClass]
public sealed class FailingRanksTests
{
    private readonly TempFolder _folder = new();

    [TestCleanup]
    public void RemoveFiles() => _folder.Dispose();

    [TestMethod]
    public void Train_OneRankKilled_EndsAllAndResumesAsTheUninterruptedRun() => KillAndResume(kills: 1, steps: 8);

    [TestMethod, TestCategory("Heavy")]
    public void Train_RandomRankKilledTenTimes_EndsAllAndResumesAsTheUninterruptedRun() => KillAndResume(kills: 10, steps: 60);

    [TestMethod]
    public void Train_OneRankStopped_EndsAllInTimeAndNamesIt()
    {
        using var ranks = Ranks.Start(2, timeout: 4, "train", _folder.Path, "steps=100000");
        int stopped = ranks.ProcessOf(1);
        ranks.WaitFor("step 3");
        Ranks.Signal("STOP", stopped);
        var clock = Stopwatch.StartNew();
        ranks.Wait(30);
        Console.WriteLine($"Ended after {clock.Elapsed.TotalSeconds:F1} s.");
        AssertEnded(ranks, "Rank 0 of 2 (", "Rank 1 has not been heard of for 4 s");
    }

    [TestMethod]
    public void Train_LossNotFiniteOnOneRank_NamesItAndTheClips()
    {
        using var ranks = Ranks.Run(2, "train", _folder.Path, "steps=20", "nan=3");
        AssertEnded(ranks, "is not finite on rank 1", "'clip d'");
    }

    [TestMethod]
    public void Train_ExceptionOnOneRank_NamesIt()
    {
        using var ranks = Ranks.Run(2, "train", _folder.Path, "steps=20", "broken=3");
        AssertEnded(ranks, "Rank 1 of 2 (");
    }

    [TestMethod]
    public void Train_OptionsThatDiffer_AreRefusedByName()
    {
        using var ranks = Ranks.Run(2, "train", _folder.Path, "otherRate=0.5");
        AssertEnded(ranks, "Rank 1 of 2 (", "LearningRate is 0.5 here and 0.001 on rank 0");
        Assert.DoesNotContain("step 1", ranks.Output);
    }

    private void KillAndResume(int kills, int steps)
    {
        string whole = Directory.CreateDirectory(_folder.File("whole")).FullName, killed = Directory.CreateDirectory(_folder.File("killed")).FullName;
        string[] arguments = [$"steps={steps}", "every=2", "resume=1"];
        using (Ranks.Run(2, ["train", whole, .. arguments]).Succeeded()) { }
        var random = new Random(kills);
        for (int kill = 0; kill < kills; kill++)
        {
            using var ranks = Ranks.Start(2, timeout: 60, ["train", killed, .. arguments]);
            int rank = random.Next(2), process = ranks.ProcessOf(rank);
            ranks.WaitFor($"step {1 + (kill + 1) * steps / (kills + 2)}");
            Ranks.Signal("KILL", process);
            ranks.Wait(30);
            AssertEnded(ranks, $"process rank {rank}", "signal 9");
        }
        using (Ranks.Run(2, ["train", killed, .. arguments]).Succeeded()) { }
        foreach (string file in new[] { "losses.txt", "weights.safetensors" })
            CollectionAssert.AreEqual(File.ReadAllBytes(Path.Combine(whole, file)), File.ReadAllBytes(Path.Combine(killed, file)), file);
    }

    /// <summary>It failed, said so, and no rank is left.</summary>
    private static void AssertEnded(Ranks ranks, params string[] said)
    {
        Assert.AreNotEqual(0, ranks.ExitCode, ranks.Output);
        foreach (string part in said)
            Assert.Contains(part, ranks.Error);
        Assert.IsLessThanOrEqualTo(1, ranks.Error.Split('\n').Count(line => line.StartsWith("Rank ", StringComparison.Ordinal)), ranks.Error);
        for (int rank = 0; rank < 2; rank++)
            Assert.IsTrue(SpinWait.SpinUntil(() => !Directory.Exists($"/proc/{ranks.ProcessOf(rank)}"), TimeSpan.FromSeconds(10)), $"Rank {rank} is still there.");
    }
}
