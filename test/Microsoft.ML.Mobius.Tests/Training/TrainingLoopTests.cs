using System.Runtime.InteropServices;
using Microsoft.ML.Mobius.Layers;
using Microsoft.ML.Mobius.Models;
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
    public void Run_Recomputed_GivesTheSameHistoryBitForBit()
    {
        var (usual, frozen) = History(ThreeSteps);
        var (lean, same) = History(ThreeSteps with { RecomputeActivations = true });
        CollectionAssert.AreEqual(usual.Losses.ToArray(), lean.Losses.ToArray());
        CollectionAssert.AreEqual(usual.HeldOut.ToArray(), lean.HeldOut.ToArray());
        Assert.AreEqual(frozen, same, "The frozen weights have changed.");

        (TrainingHistory, double) History(TrainingSettings settings)
        {
            using var model = Tiny.Video();
            using var scope = NewDisposeScope();
            using var data = Tiny.Clips(model);
            var history = TrainingLoop.Run(model, data, settings);
            Assert.IsFalse(model.UNet.RecomputeActivations);
            return (history, model.UNet.Spatial.parameters().Sum(parameter => parameter.detach().sum().item<float>()));
        }
    }

    [TestMethod]
    public void Run_SpatialFrameChunk_GivesTheSameHistory()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        using var other = Tiny.Video();
        var usual = TrainingLoop.Run(model, data, ThreeSteps);
        var inChunks = TrainingLoop.Run(other, data, ThreeSteps with { SpatialFrameChunk = 2 });
        foreach (var (expected, actual) in usual.Losses.Concat(usual.HeldOut).Zip(inChunks.Losses.Concat(inChunks.HeldOut)))
            Assert.AreEqual(expected.Loss, actual.Loss, 1e-5);
        Assert.AreEqual(0, other.UNet.SpatialFrameChunk);
    }

    [TestMethod]
    public void Advance_ManyParameters_IsOneAdamWOverAllBitForBit()
    {
        using var scope = NewDisposeScope();
        using var model = Tiny.Video();
        using var twin = Tiny.Video();
        var (mine, theirs) = (model.UNet.Temporal.parameters().ToList(), twin.UNet.Temporal.parameters().ToList());
        using var state = new TrainingState(model.UNet.Temporal, ThreeSteps);
        using var optimizer = optim.AdamW(theirs, lr: ThreeSteps.LearningRate, weight_decay: ThreeSteps.WeightDecay);
        for (int step = 0; step < 3; step++)
        {
            foreach (var (one, other) in mine.Zip(theirs))
            {
                one.grad = randn(one.shape);
                other.grad = one.grad.clone();
            }
            state.Advance(0, ThreeSteps.LearningRate);
            optimizer.step();
        }
        Assert.IsTrue(mine.Zip(theirs).All(pair => pair.First.equal(pair.Second).all().item<bool>()));
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
        Fill(model, float.NaN);
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
        Assert.AreEqual(averaged.HeldOut[^1].Loss, heldOut.Measure(CancellationToken.None).Loss, 1e-6);
    }

    [TestMethod]
    public void Run_HeldOutLossByTime_IsKeptForEveryMeasurement()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        var history = TrainingLoop.Run(model, data, ThreeSteps);
        Assert.HasCount(4, history.HeldOutByTime);
        foreach (var quarter in history.HeldOutByTime)
            CollectionAssert.AreEqual(history.HeldOut.Select(point => point.Step).ToArray(), quarter.Select(point => point.Step).ToArray());
        Assert.AreEqual(history.HeldOut[^1].Loss, history.HeldOutByTime.Average(quarter => quarter[^1].Loss), 1e-5);
    }

    [TestMethod]
    public void Run_HeldOutLossThatDoesNotFall_StopsEarlyIfAskedTo()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        var said = new List<string>();
        var settings = ThreeSteps with { Steps = 8, EvaluateEvery = 2, LearningRate = 1e-30 };     // moves no weight
        var history = TrainingLoop.Run(model, data, settings with { EarlyStopping = 3 }, say: said.Add);
        CollectionAssert.AreEqual(new[] { 0, 2, 4, 6 }, history.HeldOut.Select(point => point.Step).ToArray());
        Assert.HasCount(1, said.Where(line => line.StartsWith("Stopped after step 6", StringComparison.Ordinal)));
        Assert.HasCount(8, TrainingLoop.Run(model, data, settings).Losses);
        Assert.HasCount(8, TrainingLoop.Run(model, data, settings with { EarlyStopping = 3, LearningRate = 1e-3 }).Losses);
    }

    [TestMethod]
    public void Run_FramesCorrelated_GivesOtherLosses()
    {
        double First(double correlation)
        {
            using var model = Tiny.Video();
            using var data = Tiny.Clips(model);
            model.CorrelateFrames(correlation);
            return TrainingLoop.Run(model, data, ThreeSteps with { Steps = 1 }).Losses[0].Loss;
        }
        Assert.AreNotEqual(First(0), First(0.5));
    }

    [TestMethod]
    public void Run_WithPictures_EndsWithTheSameBits()
    {
        byte[][] Weights(ITrainingPictures? pictures)
        {
            using var model = Tiny.Video();
            using var data = Tiny.Clips(model);
            TrainingLoop.Run(model, data, ThreeSteps with { Steps = 4, EmaDecay = 0.9 }, pictures: pictures);
            return [.. model.UNet.Temporal.parameters().Select(parameter => parameter.detach().contiguous().bytes.ToArray())];
        }

        var pictures = new CountedPictures();
        var (without, with) = (Weights(null), Weights(pictures));
        Assert.IsTrue(without.Zip(with).All(pair => pair.First.AsSpan().SequenceEqual(pair.Second)));
        CollectionAssert.AreEqual(new[] { 0, 1, 2, 4 }, pictures.Steps);
        Assert.HasCount(2, pictures.FirstBatch);
    }

    [TestMethod]
    public void Run_SamplesThatFail_AreWarnedOf()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        var warned = new List<string>();
        var pictures = new CountedPictures { Failure = new IOException("the disk is full") };
        Assert.HasCount(3, TrainingLoop.Run(model, data, ThreeSteps, warn: warned.Add, pictures: pictures).Losses);
        CollectionAssert.AreEqual(new[] { "Step 1: no samples were made. the disk is full", "Step 2: no samples were made. the disk is full" }, warned);
    }

    [TestMethod]
    public void Run_FurtherNoise_ChangesTheLosses()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        double First(double offset = 0, double perturbation = 0) => TrainingLoop.Run(model, data,
            ThreeSteps with { Steps = 1, LearningRate = 1e-30, OffsetNoise = offset, InputPerturbation = perturbation }).Losses[0].Loss;
        double[] losses = [First(), First(offset: 0.5), First(perturbation: 0.5), First(0.5, 0.5)];
        Assert.AreEqual(losses[0], First());
        CollectionAssert.AllItemsAreUnique(losses);
    }

    [TestMethod]
    public void Perturbed_OneNumberPerClipAndChannel_MovesEveryFrameAlike()
    {
        using var scope = NewDisposeScope();
        var (noise, further) = (randn([2, 4, 3, 5, 5]), randn([2, 4, 1, 1, 1]));
        var moved = TrainingLoop.Perturbed(noise, further, 0.1) - noise;
        Assert.IsTrue(Close.Apart(moved, 0.1 * further.expand_as(noise)) < 1e-6);
    }

    public static IEnumerable<object[]> WaysToStep => new TrainingSettings[]
    {
        ThreeSteps, ThreeSteps with { GradientAccumulationSteps = 2, ImageShare = 0.5 }, ThreeSteps with { Lora = new LoraSettings(TrainedPart.SpatialLora, 2, 2) },
        ThreeSteps with { Optimizer = OptimizerKind.Adafactor, UpdateInBackward = true, RecomputeActivations = true },
    }.Select(settings => new object[] { settings });

    [TestMethod]
    [DynamicData(nameof(WaysToStep))]
    public void Run_LargestBatchTried_EndsWithTheSameBits(object settings)
    {
        (TrainingHistory History, byte[][] Weights, byte[] Generator, List<long> Frames) Trained(bool tries)
        {
            using var model = Tiny.Video();
            using var data = Tiny.Clips(model);
            for (int i = 0; i < 4; i++)
                data.Add($"picture {i}", SmallVideos.Gradient(1, 16, 16));
            var frames = new List<long>();
            model.UNet.Spatial.InLayer().register_forward_pre_hook((_, x) =>
            {
                lock (frames)
                    frames.Add(x.shape[0]);
                return x;
            });
            random.manual_seed(1);
            var history = TrainingLoop.Run(model, data, (TrainingSettings)settings with { TriesLargestBatch = tries });
            using var scope = NewDisposeScope();
            return (history, [.. model.UNet.parameters().Select(parameter => parameter.detach().contiguous().bytes.ToArray())], get_rng_state().bytes.ToArray(), frames);
        }

        var (without, with) = (Trained(false), Trained(true));
        CollectionAssert.AreEqual(without.History.Losses.ToArray(), with.History.Losses.ToArray());
        CollectionAssert.AreEqual(without.History.HeldOut.ToArray(), with.History.HeldOut.ToArray());
        Assert.IsTrue(without.Weights.Zip(with.Weights).All(pair => pair.First.AsSpan().SequenceEqual(pair.Second)), "The weights differ.");
        CollectionAssert.AreEqual(without.Generator, with.Generator, "libtorch's own generator was drawn from.");
        Assert.IsGreaterThan(without.Frames.Sum(), with.Frames.Sum());
        if (((TrainingSettings)settings).Lora is null)                                    // or steps have single frames, and the held-out loss whole clips
            Assert.AreEqual(with.Frames.Max(), with.Frames[0], "The first is not the largest.");
    }

    [TestMethod]
    public void Run_LargestBatchDoesNotFit_NamesItBeforeTheFirstStep()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        foreach (var (_, module) in model.UNet.Temporal.named_modules())
            if (module is TemporalConvolution layer)
                layer.register_forward_hook((_, _, _, _) => throw new ExternalException("CUDA out of memory. Tried to allocate 20.00 GiB."));
        var thrown = Assert.ThrowsExactly<InvalidOperationException>(
            () => TrainingLoop.Run(model, data, ThreeSteps with { TriesLargestBatch = true }, progress => Assert.Fail("A step was made.")));
        Assert.Contains("2 clips of 3 frames of 16x16 pixels", thrown.Message);
        Assert.Contains("Tried to allocate 20.00 GiB", thrown.Message);
        Assert.IsTrue(model.UNet.Temporal.parameters().All(p => p.grad is null));
    }

    [TestMethod]
    public void Run_StepNotFinite_IsSkippedIfAllowed()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        var warned = new List<string>();
        var history = TrainingLoop.Run(model, data, ThreeSteps with { HeldOutFraction = 0, NonFiniteStep = NonFiniteStep.Skip }, progress =>
        {
            if (progress.Step == 1)
                Fill(model, float.NaN);
        }, warn: message =>
        {
            warned.Add(message);
            Fill(model, 0);
        });
        CollectionAssert.AreEqual(new[] { 1, 3 }, history.Losses.Select(point => point.Step).ToArray());
        Assert.Contains("step 2", warned.Single());
        Assert.Contains("'clip ", warned.Single());
        Assert.IsTrue(model.UNet.Temporal.parameters().All(parameter => parameter.isfinite().all().item<bool>()));
    }

    [TestMethod]
    public void Run_NeverFinite_StopsThoughSkippingIsAllowed()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        Fill(model, float.NaN);
        var warned = new List<string>();
        var thrown = Assert.ThrowsExactly<InvalidDataException>(() => TrainingLoop.Run(
            model, data, ThreeSteps with { Steps = 30, HeldOutFraction = 0, NonFiniteStep = NonFiniteStep.Skip }, warn: warned.Add));
        Assert.Contains("step 10", thrown.Message);
        Assert.HasCount(9, warned);
    }

    [TestMethod]
    public void Run_HeldOutLossNotFinite_Stops()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        Fill(model, float.NaN);
        Assert.Contains("held-out loss after step 0", Assert.ThrowsExactly<InvalidDataException>(() => TrainingLoop.Run(model, data, ThreeSteps)).Message);
    }

    [TestMethod]
    public void Run_WeightsThatDoNotMove_StopsAfterTenSteps()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        int done = 0;
        var settings = ThreeSteps with { Steps = 20, HeldOutFraction = 0, LearningRate = 1e-300 };
        var thrown = Assert.ThrowsExactly<InvalidOperationException>(() => TrainingLoop.Run(model, data, settings, progress => done = progress.Step));
        Assert.AreEqual(10, done);
        Assert.Contains("No weight has moved", thrown.Message);
    }

    /// <summary>Draws from libtorch's own generator as no picture should, and so shows that the run draws from its own.</summary>
    private sealed class CountedPictures : ITrainingPictures
    {
        public List<int> Steps { get; } = [];

        public IReadOnlyList<int> FirstBatch { get; private set; } = [];

        public Exception? Failure { get; init; }

        public void ShowFirstBatch(TrainingData data, IReadOnlyList<int> clips)
        {
            Steps.Add(0);
            FirstBatch = clips;
        }

        public bool IsDue(int step) => step == 1 || step % 2 == 0;

        public byte[] Sample(int step)
        {
            using var scope = NewDisposeScope();
            Steps.Add(step);
            randn(10);
            return Failure is null ? new byte[30] : throw Failure;
        }
    }

    private static void Fill(TextToVideoModel model, float value)
    {
        using var _ = no_grad();
        using var scope = NewDisposeScope();
        model.UNet.Temporal.parameters().Last().fill_(value);
    }

    private static int[] HeldOutClips(TrainingData data, TrainingSettings settings)
    {
        int[] clips = [.. Enumerable.Range(0, data.Count)];
        new TrainingRandom(settings.Seed).Split().Shuffle(clips);
        return clips[..(int)Math.Round(data.Count * settings.HeldOutFraction)];
    }
}
