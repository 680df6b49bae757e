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
    public void Run_GradientAccumulation_TakesSoManyBatchesPerStep()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        var settings = ThreeSteps with { GradientAccumulationSteps = 2, HeldOutFraction = 0, WarmupSteps = 0, LearningRate = 1e-30 };
        var accumulated = TrainingLoop.Run(model, data, settings).Losses;
        var single = TrainingLoop.Run(model, data, settings with { Steps = 6, GradientAccumulationSteps = 1 }).Losses;
        Assert.HasCount(3, accumulated);
        for (int step = 0; step < 3; step++)
            Assert.AreEqual((single[2 * step].Loss + single[2 * step + 1].Loss) / 2, accumulated[step].Loss, 1e-6);
    }

    [TestMethod]
    public void Run_Average_IsWhatIsMeasuredAndLeft()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        using var plain = Tiny.Video();
        var settings = ThreeSteps with { EmaDecay = 0.9, LearningRate = 1e-2 };
        var averaged = TrainingLoop.Run(model, data, settings);
        var trained = TrainingLoop.Run(plain, data, settings with { EmaDecay = 0 });

        CollectionAssert.AreEqual(trained.Losses.ToArray(), averaged.Losses.ToArray(), "The average changes the training.");
        Assert.AreEqual(trained.HeldOut[0], averaged.HeldOut[0]);
        Assert.AreNotEqual(trained.HeldOut[^1], averaged.HeldOut[^1]);
        using var heldOut = new HeldOutLoss(model, data, HeldOutClips(data, settings), settings.Seed);
        Assert.AreEqual(averaged.HeldOut[^1].Loss, heldOut.Measure(CancellationToken.None), 1e-6);
    }

    [TestMethod]
    public void Run_OffsetNoise_ChangesTheLosses()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        double First(double offset) => TrainingLoop.Run(model, data, ThreeSteps with { Steps = 1, LearningRate = 1e-30, OffsetNoise = offset }).Losses[0].Loss;
        Assert.AreEqual(First(0), First(0));
        Assert.AreNotEqual(First(0), First(0.5));
    }

    [TestMethod]
    public void WithOffset_EveryFrame_IsMovedAlike()
    {
        using var scope = NewDisposeScope();
        var (noise, offset) = (randn([2, 4, 3, 5, 5]), randn([2, 4, 1, 1, 1]));
        var moved = TrainingLoop.WithOffset(noise, offset, 0.1) - noise;
        Assert.IsTrue(Close.Apart(moved, 0.1 * offset.expand_as(noise)) < 1e-6);
    }

    private static int[] HeldOutClips(TrainingData data, TrainingSettings settings)
    {
        int[] clips = [.. Enumerable.Range(0, data.Count)];
        new TrainingRandom(settings.Seed).Split().Shuffle(clips);
        return clips[..(int)Math.Round(data.Count * settings.HeldOutFraction)];
    }
}
