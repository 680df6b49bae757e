using Microsoft.ML.Mobius.Training;

namespace Microsoft.ML.Mobius.Tests.Training;

[TestClass]
public sealed class ClipOrderTests
{
    private static readonly int[] Clips = [2, 3, 5, 7, 11];

    [TestMethod]
    public void Batch_ManyEpochs_HasEveryClipOncePerEpochInNewOrders()
    {
        var order = new ClipOrder(Clips, new TrainingRandom(1));
        int[][] epochs = [.. Enumerable.Range(0, 20).SelectMany(number => order.Batch(number, 3)).Chunk(5)];
        foreach (int[] epoch in epochs)
            CollectionAssert.AreEquivalent(Clips, epoch);
        Assert.IsTrue(epochs.Select(epoch => string.Join(' ', epoch)).Distinct().Count() > 8);
    }

    [TestMethod]
    public void Batch_AskedForOutOfOrder_IsTheSame()
    {
        var order = new ClipOrder(Clips, new TrainingRandom(1));
        var first = Enumerable.Range(0, 9).Select(number => order.Batch(number, 4)).ToList();
        foreach (int number in new[] { 8, 0, 5 })
            CollectionAssert.AreEqual(first[number], new ClipOrder(Clips, new TrainingRandom(1)).Batch(number, 4));
    }
}
