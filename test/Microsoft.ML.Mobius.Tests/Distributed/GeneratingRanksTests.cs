namespace Microsoft.ML.Mobius.Tests.Distributed;

/// <summary>Rows shared out among several processes.</summary>
[TestClass]
public sealed class GeneratingRanksTests
{
    [TestMethod]
    [DataRow(2, 5)]
    [DataRow(4, 10)]
    public void Transform_SeveralRanks_GivesAllTheVideosOfOneProcessInOrder(int count, int prompts)
    {
        string[] asked = ["generate", .. Enumerable.Range(0, prompts).Select(i => $"prompt {i}")];
        using var one = Ranks.Run(1, asked).Succeeded();
        using var several = Ranks.Run(count, asked).Succeeded();
        string[] expected = one.Lines("rank 0 row ");
        Assert.HasCount(prompts, expected);
        for (int rank = 0; rank < count; rank++)
            CollectionAssert.AreEqual(expected, several.Lines($"rank {rank} row "));
    }
}
