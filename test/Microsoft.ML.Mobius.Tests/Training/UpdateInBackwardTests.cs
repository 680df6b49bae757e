using Microsoft.ML.Mobius.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Training;

[TestClass]
public sealed class UpdateInBackwardTests
{
    private static readonly TrainingSettings Lean = new()
    {
        Steps = 3, BatchSize = 1, WarmupSteps = 1, HeldOutFraction = 0, Optimizer = OptimizerKind.Adafactor, UpdateInBackward = true,
    };

    [TestMethod]
    public void Run_BatchOfOne_IsTheUsualRunBitForBit()
    {
        var (usual, weights) = Run(Lean with { UpdateInBackward = false });
        foreach (bool recompute in new[] { false, true })
        {
            var (lean, same) = Run(Lean with { RecomputeActivations = recompute });
            CollectionAssert.AreEqual(usual.Losses.ToArray(), lean.Losses.ToArray());
            Assert.IsTrue(weights.Zip(same).All(pair => pair.First.AsSpan().SequenceEqual(pair.Second)), "The weights differ.");
        }
        Assert.AreNotEqual(usual.Losses[^1], Run(Lean with { Optimizer = OptimizerKind.AdamW, UpdateInBackward = false }).History.Losses[^1]);
    }

    [TestMethod]
    public void Run_LargerBatch_DiffersByRoundingAlone()
    {
        var (usual, _) = Run(Lean with { BatchSize = 3, UpdateInBackward = false });
        var (lean, _) = Run(Lean with { BatchSize = 3 });
        foreach (var (expected, actual) in usual.Losses.Zip(lean.Losses))
            Assert.AreEqual(expected.Loss, actual.Loss, 1e-3 * expected.Loss);
    }

    [TestMethod]
    public void Run_AnyStep_TellsTheNormOfTheWholeGradient()
    {
        double[] Norms(bool inBackward)
        {
            using var model = Tiny.Video();
            using var scope = NewDisposeScope();
            using var state = new TrainingState(model.UNet.Temporal, Lean);
            random.manual_seed(2);
            model.UNet.RecomputeActivations = inBackward;
            var update = inBackward ? new UpdateInBackward(state, 1e-3) : null;
            model.UNet.Backward(randn([1, 4, 3, 8, 8]), tensor([9L]), randn([1, 5, 16]), predicted => predicted.square().mean(), update is null ? null : update.Take);
            update?.End();
            return [update?.Norm ?? GradientNorm.Of(state.Parameters).item<float>()];
        }
        Assert.AreEqual(Norms(false)[0], Norms(true)[0], 1e-5 * Norms(false)[0]);
        Assert.IsGreaterThan(0, Norms(true)[0]);
    }

    [TestMethod]
    public void Run_LossNotFinite_MovesNothing()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        using var scope = NewDisposeScope();
        using (no_grad())
            model.UNet.Temporal.parameters().Last().fill_(float.NaN);
        var before = model.UNet.Temporal.parameters().Select(parameter => parameter.clone()).ToList();
        Assert.Contains("The loss of step 1 is not finite", Assert.ThrowsExactly<InvalidDataException>(() => TrainingLoop.Run(model, data, Lean)).Message);
        foreach (var (was, parameter) in before.SkipLast(1).Zip(model.UNet.Temporal.parameters()))
            Assert.IsTrue(was.equal(parameter).all().item<bool>());
    }

    [TestMethod]
    public void Take_GradientNotFinite_MovesNeitherItNorItsPart()
    {
        using var model = Tiny.Video();
        using var scope = NewDisposeScope();
        using var state = new TrainingState(model.UNet.Temporal, Lean);
        var (first, second, third) = (state.Parameters[0], state.Parameters[1], state.Parameters[2]);
        var before = state.Parameters.Select(parameter => parameter.clone()).ToList();
        var update = new UpdateInBackward(state, 1e-3);

        first.grad = ones_like(first);
        Assert.IsTrue(update.Take());
        Assert.AreEqual(1, update.Moved);
        Assert.IsNull(first.grad);
        second.grad = ones_like(second);
        third.grad = full_like(third, double.PositiveInfinity);
        Assert.IsFalse(update.Take());

        Assert.IsGreaterThan(0, Close.Apart(first, before[0]));
        for (int i = 1; i < before.Count; i++)
            Assert.IsTrue(before[i].equal(state.Parameters[i]).all().item<bool>());
        Assert.IsFalse(double.IsFinite(update.Norm));
    }

    [TestMethod]
    public void End_WeightOfTwoParts_IsRefused()
    {
        using var model = Tiny.Video();
        using var scope = NewDisposeScope();
        using var state = new TrainingState(model.UNet.Temporal, Lean);
        var shared = state.Parameters[0];
        var update = new UpdateInBackward(state, 1e-3);
        shared.grad = ones_like(shared);
        Assert.IsTrue(update.Take());
        update.End();
        shared.grad = ones_like(shared);
        Assert.IsTrue(update.Take());
        Assert.Contains(state.NameOf(0), Assert.ThrowsExactly<InvalidOperationException>(update.End).Message);
    }

    private static (TrainingHistory History, byte[][] Weights) Run(TrainingSettings settings)
    {
        using var model = Tiny.Video(told: true);
        using var data = Tiny.Clips(model);
        var history = TrainingLoop.Run(model, data, settings);
        using var scope = NewDisposeScope();
        return (history, [.. model.UNet.Temporal.parameters().Select(parameter => parameter.detach().contiguous().bytes.ToArray())]);
    }
}
