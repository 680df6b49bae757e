using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Training;

[TestClass]
public sealed class LoraTrainingTests
{
    private static readonly TrainingSettings FourSteps = new()
    {
        Steps = 4, BatchSize = 2, WarmupSteps = 0, EvaluateEvery = 2, HeldOutFraction = 0.3, LearningRate = 1e-2,
    };

    private readonly TempFolder _folder = new();

    [TestCleanup]
    public void RemoveFolder() => _folder.Dispose();

    [TestMethod]
    [DataRow(UNetLayout.StreamParallel, TrainedPart.TemporalLora)]
    [DataRow(UNetLayout.Serial, TrainedPart.TemporalLora)]
    [DataRow(UNetLayout.LayerParallel, TrainedPart.TemporalLora)]
    [DataRow(UNetLayout.StreamParallel, TrainedPart.SpatialLora)]
    [DataRow(UNetLayout.Serial, TrainedPart.SpatialLora)]
    public void Run_Lora_MovesItsLayersAloneAndItsFileGivesTheSameNetwork(UNetLayout layout, TrainedPart part)
    {
        using var scope = NewDisposeScope();
        using var model = Tiny.Learnt(layout);
        using var data = Tiny.Clips(model);
        var before = Weights(model).ToDictionary(pair => pair.Name, pair => pair.Weight.clone());
        string[] Moved() => [.. Weights(model).Where(pair => !pair.Weight.equal(before[pair.Name]).all().item<bool>()).Select(pair => pair.Name)];
        Tensor? live = null;

        TrainingLoop.Run(model, data, With(part), progress =>
        {
            Assert.IsEmpty(Moved(), "Weights move in training.");
            if (progress.Step == FourSteps.Steps)
                live = Output(model).DetachFromDisposeScope();
        });

        string[] layers = [.. part == TrainedPart.SpatialLora ? model.UNet.SpatialAttentions().Select(layer => $"spatial.{layer.Name}.weight")
            : model.UNet.TemporalLinears().Select(layer => $"temporal.{layer.Name}.weight")];
        CollectionAssert.AreEquivalent(layers, Moved());
        Close.AssertRelative(live!, Output(model), 1e-5, "merged");
        Assert.IsTrue(model.UNet.parameters().All(parameter => parameter.grad is null));
        Assert.IsTrue(model.UNet.Temporal.parameters().All(parameter => parameter.requires_grad));

        using var other = Tiny.Learnt(layout);
        Assert.IsGreaterThan(1e-4, Close.Apart(live!, Output(other)), "The LoRA does nothing.");
        var applied = other.ApplyLora(_folder.File("lora.safetensors", model.TrainedLora), 1);
        Assert.IsEmpty(applied.UnmatchedKeys);
        Assert.HasCount(layers.Length, applied.Layers);
        Close.AssertRelative(live!, Output(other), 1e-5, "from the file");
        live!.Dispose();
    }

    [TestMethod]
    public void Run_Lora_StartsFromTheModel()
    {
        double First(LoraSettings? lora)
        {
            using var model = Tiny.Learnt(UNetLayout.Serial);
            using var data = Tiny.Clips(model);
            return TrainingLoop.Run(model, data, FourSteps with { Steps = 1, LearningRate = 1e-30, Lora = lora }).Losses[0].Loss;
        }
        // But for rounding: on some machines a product whose weight takes no gradient is rounded otherwise.
        double expected = First(null);
        Assert.AreEqual(expected, First(new LoraSettings(TrainedPart.TemporalLora, 2, 2)), 1e-6 * expected);
    }

    [TestMethod]
    public void Run_SpatialLora_PassesTheTemporalHalfBy()
    {
        var (history, lora) = Run(Tiny.Learnt(UNetLayout.Serial), With(TrainedPart.SpatialLora));
        var (same, alike) = Run(Tiny.Video(UNetLayout.StreamParallel), With(TrainedPart.SpatialLora));
        CollectionAssert.AreEqual(history.Losses.ToArray(), same.Losses.ToArray());
        CollectionAssert.AreEqual(history.HeldOut.ToArray(), same.HeldOut.ToArray());
        CollectionAssert.AreEqual(lora, alike);
    }

    [TestMethod]
    [DataRow(TrainedPart.TemporalLora)]
    [DataRow(TrainedPart.SpatialLora)]
    public void Run_StoppedAndResumed_IsTheUninterruptedRunBitForBit(TrainedPart part)
    {
        var settings = With(part) with { EmaDecay = 0.9, GradientAccumulationSteps = 2 };
        var kept = new CheckpointSettings { Folder = _folder.Path, Every = 0 };
        TextToVideoModel Start() => Tiny.Learnt(UNetLayout.StreamParallel);
        var (whole, lora) = Run(Start(), settings);
        Assert.ThrowsExactly<OperationCanceledException>(() => Run(Start(), settings with { Checkpoints = kept }, stopAfter: 2));
        var (resumed, same) = Run(Start(), settings with { Checkpoints = kept with { Resume = true } });
        CollectionAssert.AreEqual(whole.Losses.ToArray(), resumed.Losses.ToArray());
        CollectionAssert.AreEqual(lora, same);

        var refused = Assert.ThrowsExactly<InvalidOperationException>(
            () => Run(Start(), settings with { Lora = settings.Lora! with { Rank = 4 }, Checkpoints = kept with { Resume = true } }));
        Assert.Contains("Lora was ", refused.Message);
        var (plain, last) = Run(Start(), settings with { EmaDecay = 0 });
        CollectionAssert.AreEqual(whole.Losses.ToArray(), plain.Losses.ToArray(), "The average changes the training.");
        CollectionAssert.AreNotEqual(lora, last, "The average is not the result.");
    }

    [TestMethod]
    public void Run_TemporalLoraRecomputed_IsTheSameBitForBit()
    {
        var (_, lora) = Run(Tiny.Learnt(UNetLayout.StreamParallel), With(TrainedPart.TemporalLora));
        var (_, same) = Run(Tiny.Learnt(UNetLayout.StreamParallel), With(TrainedPart.TemporalLora) with { RecomputeActivations = true });
        CollectionAssert.AreEqual(lora, same);
    }

    [TestMethod]
    public void Run_Cancelled_LeavesTheModelAsItWas()
    {
        using var scope = NewDisposeScope();
        using var model = Tiny.Learnt(UNetLayout.Serial);
        using var data = Tiny.Clips(model);
        using var cancel = new CancellationTokenSource();
        var before = Output(model);
        Assert.ThrowsExactly<OperationCanceledException>(
            () => TrainingLoop.Run(model, data, With(TrainedPart.SpatialLora), _ => cancel.Cancel(), cancel.Token));
        Close.Assert(before, Output(model), 0);
        Assert.IsFalse(model.UNet.FramesAreImages);
        Assert.IsNull(model.TrainedLora);
    }

    [TestMethod]
    public void Run_OverAndOver_KeepsNoTensors()
    {
        using var model = Tiny.Learnt(UNetLayout.Serial);
        using var data = Tiny.Clips(model);
        TrainingLoop.Run(model, data, With(TrainedPart.TemporalLora));
        long Left(int steps)
        {
            long before = Memory.Tensors();
            TrainingLoop.Run(model, data, With(TrainedPart.TemporalLora) with { Steps = steps });
            return Memory.Tensors() - before;
        }
        Assert.AreEqual(Left(3), Left(12));
    }

    private static TrainingSettings With(TrainedPart part) => FourSteps with { Lora = new LoraSettings(part, Rank: 3, Alpha: 6) };

    private static (TrainingHistory History, byte[] Lora) Run(TextToVideoModel start, TrainingSettings settings, int stopAfter = int.MaxValue)
    {
        using var model = start;
        using var data = Tiny.Clips(model);
        using var cancel = new CancellationTokenSource();
        var history = TrainingLoop.Run(model, data, settings, progress =>
        {
            if (progress.Step >= stopAfter)
                cancel.Cancel();
        }, cancel.Token);
        return (history, model.TrainedLora!);
    }

    /// <summary>Of the whole network, the temporal half with it.</summary>
    private static Tensor Output(TextToVideoModel model)
    {
        using var _ = no_grad();
        using var generator = new Generator(1, CPU);
        bool images = model.UNet.FramesAreImages;
        model.UNet.FramesAreImages = false;
        var z = randn([2, 4, 3, 8, 8], generator: generator);
        var output = model.UNet.call(z, tensor(new long[] { 3, 700 }), model.EncodeText("a", "b"));
        model.UNet.FramesAreImages = images;
        return output;
    }

    private static IEnumerable<(string Name, Tensor Weight)> Weights(TextToVideoModel model)
        => from part in new (string Name, nn.Module Module)[]
           {
               ("spatial", model.UNet.Spatial), ("temporal", model.UNet.Temporal), ("text", model.TextEncoder), ("vae", model.Autoencoder),
           }
           from weight in part.Module.named_parameters()
           select ($"{part.Name}.{weight.name}", weight.parameter.detach());
}
