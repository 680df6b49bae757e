using Microsoft.ML.Mobius.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Training;

[TestClass]
public sealed class HeldOutLossTests
{
    [TestMethod]
    public void Measure_SameModel_GivesTheSameNumber()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        using var loss = new HeldOutLoss(model, data, [0, 2, 4], 3);
        using var same = new HeldOutLoss(model, data, [0, 2, 4], 3);
        using var other = new HeldOutLoss(model, data, [0, 2, 4], 4);
        double first = loss.Measure(default).Loss;
        Assert.AreEqual(first, loss.Measure(default).Loss);
        Assert.AreEqual(first, same.Measure(default).Loss);
        Assert.AreNotEqual(first, other.Measure(default).Loss);
    }

    [TestMethod]
    public void Measure_QuartersOfTheSchedule_AverageToTheLoss()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        using var heldOut = new HeldOutLoss(model, data, [0, 2, 4], 3);
        var (loss, byTime) = heldOut.Measure(default);
        Assert.HasCount(4, byTime);
        CollectionAssert.AllItemsAreUnique(byTime);
        Assert.AreEqual(loss, byTime.Average(), 1e-5);
    }

    [TestMethod]
    public void Dispose_AfterMeasuring_LeavesNoTensor()
    {
        using var model = Tiny.Video();
        long before = Memory.Tensors();
        using (var data = Tiny.Clips(model))
        using (var loss = new HeldOutLoss(model, data, [0, 1], 3))
            loss.Measure(default);
        Assert.AreEqual(before, Tensor.TotalCount);
    }

    [TestMethod]
    public void Latents_OfAClip_AreDrawnAroundTheEncodersMean()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        using var scope = NewDisposeScope();
        using var a = new Generator(1, CPU);
        using var b = new Generator(1, CPU);
        var latents = data.Latents([1, 1, 3], a);
        CollectionAssert.AreEqual(new long[] { 3, 4, 3, 8, 8 }, latents.shape);
        Close.Assert(latents, data.Latents([1, 1, 3], b), 0);
        Assert.IsTrue(Close.Apart(latents[0], latents[1]) > 0);
        Assert.AreEqual("clip d", data.Caption(3));
    }
}
