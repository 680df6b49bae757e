using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Training;

[TestClass]
public sealed class TrainingLoopTests
{
    private static readonly TrainingSettings ThreeSteps = new() { Steps = 3, BatchSize = 2, WarmupSteps = 1, EvaluateEvery = 2, HeldOutFraction = 0.3 };

    [TestMethod]
    [DataRow(UNetLayout.StreamParallel, 1)]
    [DataRow(UNetLayout.StreamParallel, 4)]
    [DataRow(UNetLayout.Serial, 1)]
    [DataRow(UNetLayout.LayerParallel, 1)]
    public void Run_ThreeSteps_MovesTheTemporalHalfAlone(UNetLayout layout, int divisor)
    {
        using var model = Tiny.Video(layout, divisor);
        using var data = Tiny.Clips(model);
        using var scope = NewDisposeScope();
        var frozen = new nn.Module[] { model.UNet.Spatial, model.TextEncoder, model.Autoencoder }.SelectMany(m => m.parameters()).ToList();
        var before = frozen.Select(p => p.clone()).ToList();
        var temporal = model.UNet.Temporal.parameters().Select(p => p.clone()).ToList();

        TrainingLoop.Run(model, data, ThreeSteps);

        Assert.IsTrue(frozen.Zip(before).All(pair => pair.First.equal(pair.Second).all().item<bool>()));
        Assert.IsTrue(frozen.All(p => p.grad is null && !p.requires_grad));
        int moved = model.UNet.Temporal.parameters().Zip(temporal).Count(pair => Close.Apart(pair.First, pair.Second) > 0);
        Assert.IsTrue(moved > 0.5 * temporal.Count, $"{moved} of {temporal.Count} moved.");
        Assert.IsFalse(model.UNet.Temporal.training);
        Assert.IsTrue(model.UNet.Temporal.parameters().All(p => p.grad is null), "Gradients are kept after training.");
    }

    [TestMethod]
    public void Run_SameSeed_GivesTheSameHistoryBitForBit()
    {
        var (first, again, other) = (History(1), History(1), History(2));
        CollectionAssert.AreEqual(first.Losses.ToArray(), again.Losses.ToArray());
        CollectionAssert.AreEqual(first.HeldOut.ToArray(), again.HeldOut.ToArray());
        CollectionAssert.AreNotEqual(first.Losses.ToArray(), other.Losses.ToArray());
        CollectionAssert.AreEqual(new[] { 0, 2, 3 }, first.HeldOut.Select(point => point.Step).ToArray());
        Assert.HasCount(3, first.Losses);

        static TrainingHistory History(long seed)
        {
            using var model = Tiny.Video();
            using var data = Tiny.Clips(model);
            return TrainingLoop.Run(model, data, ThreeSteps with { Seed = seed });
        }
    }

    [TestMethod]
    public void Run_ManySteps_LowersTheLoss()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model, 2);
        var history = TrainingLoop.Run(model, data, ThreeSteps with { Steps = 60, HeldOutFraction = 0, LearningRate = 5e-3 });
        Assert.IsTrue(history.Losses.TakeLast(15).Average(p => p.Loss) < 0.9 * history.Losses.Take(15).Average(p => p.Loss));
        Assert.IsEmpty(history.HeldOut);
    }

    [TestMethod]
    public void Run_Cancelled_StopsBetweenSteps()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        using var cancel = new CancellationTokenSource();
        int done = 0;
        Assert.ThrowsExactly<OperationCanceledException>(() => TrainingLoop.Run(model, data, ThreeSteps, progress =>
        {
            done = progress.Step;
            cancel.Cancel();
        }, cancel.Token));
        Assert.AreEqual(1, done);
        Assert.IsFalse(model.UNet.Temporal.training);
    }

    [TestMethod]
    public void Run_WeightsNotFinite_NamesStepAndClips()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        using (no_grad())
            model.UNet.Temporal.parameters().Last().fill_(float.NaN);
        var thrown = Assert.ThrowsExactly<InvalidDataException>(() => TrainingLoop.Run(model, data, ThreeSteps with { HeldOutFraction = 0 }));
        StringAssert.Contains(thrown.Message, "step 1");
        StringAssert.Contains(thrown.Message, "'clip ");
    }

    [TestMethod]
    public void Run_OverAndOver_KeepsNoTensors()
    {
        using var model = Tiny.Video(divisor: 2);
        using var data = Tiny.Clips(model);
        TrainingLoop.Run(model, data, ThreeSteps);
        long before = Memory.Tensors();
        TrainingLoop.Run(model, data, ThreeSteps with { Steps = 20 });
        Assert.AreEqual(before, Tensor.TotalCount);
    }

    [TestMethod, TestCategory("Heavy")]
    public void Run_TwoHundredSteps_KeepsMemoryFlat()
    {
        using var model = Tiny.Video(divisor: 2);
        using var data = Tiny.Clips(model);
        TrainingLoop.Run(model, data, ThreeSteps with { Steps = 100, EvaluateEvery = 50 });
        long before = Memory.Resident();
        TrainingLoop.Run(model, data, ThreeSteps with { Steps = 200, EvaluateEvery = 50 });
        Assert.IsTrue(Memory.Resident() < 1.02 * before, $"{before} bytes became {Memory.Resident()}.");
    }

    [TestMethod]
    public void LearningRateAt_Steps_WarmsUpAndFalls()
    {
        var settings = new TrainingSettings { Steps = 100, WarmupSteps = 10, LearningRate = 2 };
        Assert.AreEqual(0.2, settings.LearningRateAt(1), 1e-12);
        Assert.AreEqual(2 * 0.5 * (1 + Math.Cos(Math.PI * 0.09)), settings.LearningRateAt(10), 1e-12);
        Assert.AreEqual(1, settings.LearningRateAt(51), 1e-12);
        Assert.IsTrue(settings.LearningRateAt(100) is > 0 and < 0.001);
    }
}
