using Microsoft.ML.Mobius.Training;

namespace Microsoft.ML.Mobius.Tests.Training;

[TestClass]
public sealed class ClipOrderTests
{
    private static readonly int[] Clips = [2, 3, 5, 7, 11];

    [TestMethod]
    public void Batch_ManyEpochs_HasEveryClipOncePerEpochInNewOrders()
    {
        var order = new ClipOrder([Clips], new TrainingRandom(1));
        int[][] epochs = [.. Enumerable.Range(0, 20).SelectMany(number => order.Batch(number, 3)).Chunk(5)];
        foreach (int[] epoch in epochs)
            CollectionAssert.AreEquivalent(Clips, epoch);
        Assert.IsTrue(epochs.Select(epoch => string.Join(' ', epoch)).Distinct().Count() > 8);
    }

    [TestMethod]
    public void Batch_AskedForOutOfOrder_IsTheSame()
    {
        var order = new ClipOrder([Clips], new TrainingRandom(1));
        var first = Enumerable.Range(0, 9).Select(number => order.Batch(number, 4)).ToList();
        foreach (int number in new[] { 8, 0, 5 })
            CollectionAssert.AreEqual(first[number], new ClipOrder([Clips], new TrainingRandom(1)).Batch(number, 4));
    }

    [TestMethod]
    public void Largest_SeveralShapes_TakesAsMuchAsAnyBatch()
    {
        int[][] shapes = [[0, 1, 2, 3, 4], [10], [20, 21, 22]];
        int[] Largest(int size, params long[] values) => new ClipOrder(shapes, new TrainingRandom(1)).Largest(size, clip => values[clip / 10]);
        CollectionAssert.AreEqual(new[] { 20, 21 }, Largest(2, 4, 7, 5));
        CollectionAssert.AreEqual(new[] { 10 }, Largest(2, 4, 11, 5));
        CollectionAssert.AreEqual(new[] { 0, 1, 2, 3, 4 }, Largest(8, 4, 7, 5));
        CollectionAssert.AreEqual(new[] { 2, 3, 5, 7, 11, 2, 3 }, new ClipOrder([Clips], new TrainingRandom(1)).Largest(7, _ => 1), "A batch may run over.");
    }

    [TestMethod]
    public void Batch_SeveralShapes_HasClipsOfOneAndEveryClipOncePerEpoch()
    {
        int[][] shapes = [[0, 1, 2, 3, 4], [10, 11], [20, 21, 22]];
        var order = new ClipOrder(shapes, new TrainingRandom(1));
        int[][] batches = [.. Enumerable.Range(0, 5 * 6).Select(number => order.Batch(number, 2))];
        foreach (int[] batch in batches)
            Assert.AreEqual(1, batch.Select(clip => clip / 10).Distinct().Count(), string.Join(' ', batch));
        foreach (int[][] epoch in batches.Chunk(6))
            CollectionAssert.AreEquivalent(shapes.SelectMany(clips => clips).ToArray(), epoch.SelectMany(clips => clips).ToArray());
        Assert.IsTrue(batches.Chunk(6).Select(epoch => string.Join(' ', epoch.Select(batch => batch[0] / 10))).Distinct().Count() > 1, "Shapes follow in one order.");
        CollectionAssert.AreEqual(batches[17], new ClipOrder(shapes, new TrainingRandom(1)).Batch(17, 2));
    }
}
