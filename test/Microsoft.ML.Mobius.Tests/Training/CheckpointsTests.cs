using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Training;

[TestClass]
public sealed class CheckpointsTests
{
    private static readonly TrainingSettings SixSteps = new()
    {
        Steps = 6, BatchSize = 2, WarmupSteps = 1, EvaluateEvery = 2, HeldOutFraction = 0.3, LearningRate = 1e-2,
    };

    private readonly TempFolder _folder = new();
    private readonly List<string> _said = [], _warned = [];

    [TestCleanup]
    public void RemoveFolder() => _folder.Dispose();

    [TestMethod]
    [DataRow(UNetLayout.StreamParallel)]
    [DataRow(UNetLayout.Serial)]
    [DataRow(UNetLayout.LayerParallel)]
    public void Run_StoppedAndResumed_IsTheUninterruptedRunBitForBit(UNetLayout layout) => StopAndResume(SixSteps, layout);

    [TestMethod]
    public void Run_StoppedAndResumedWithEverything_IsTheUninterruptedRunBitForBit() => StopAndResume(SixSteps with
    {
        GradientAccumulationSteps = 3, EmaDecay = 0.9, OffsetNoise = 0.1, LearningRateSchedule = LearningRateSchedule.OneCycle,
    });

    [TestMethod]
    [DataRow(1, true)]
    [DataRow(2, false)]
    public void Run_StoppedAndResumedWithAdafactor_IsTheUninterruptedRunBitForBit(int batch, bool inBackward)
        => StopAndResume(SixSteps with { Optimizer = OptimizerKind.Adafactor, BatchSize = batch, UpdateInBackward = inBackward, RecomputeActivations = inBackward });

    [TestMethod]
    public void Run_OtherOptimizer_RefusesToResume()
    {
        Run(SixSteps with { Checkpoints = Kept() });
        Assert.Contains("Optimizer was AdamW and is Adafactor", Assert.ThrowsExactly<InvalidOperationException>(
            () => Run(SixSteps with { Optimizer = OptimizerKind.Adafactor, Checkpoints = Kept(resume: true) })).Message);
    }

    [TestMethod]
    public void Run_Finished_ResumesToTheSameWeights()
    {
        var (history, weights) = Run(SixSteps with { EmaDecay = 0.5, Checkpoints = Kept() });
        var (again, same) = Run(SixSteps with { EmaDecay = 0.5, Checkpoints = Kept(resume: true) });
        AssertSame(history, again);
        AssertSame(weights, same);
    }

    [TestMethod]
    public void Run_ManyCheckpoints_KeepsTheNewest()
    {
        Directory.CreateDirectory(_folder.File(".step-00000001.0123.tmp"));
        Run(SixSteps with { Checkpoints = Kept() });
        CollectionAssert.AreEqual(new[] { "step-00000005", "step-00000006" }, Folders());
        CollectionAssert.AreEqual(new[] { "checkpoint.json", "optimizer.safetensors", "progress.json", "weights.safetensors" },
            Directory.GetFiles(_folder.File("step-00000006")).Select(Path.GetFileName).Order(StringComparer.Ordinal).ToArray());
    }

    [TestMethod]
    [DataRow("weights.safetensors", 100)]
    [DataRow("optimizer.safetensors", -1)]
    [DataRow("progress.json", null)]
    [DataRow("checkpoint.json", 1)]
    [DataRow("checkpoint.json", null)]
    public void Run_NewestDamaged_ResumesFromTheOneBefore(string file, int? change)
    {
        var (history, weights) = Run(SixSteps with { Checkpoints = Kept() });
        Damage(_folder.File(Path.Combine("step-00000006", file)), change);
        var (again, same) = Run(SixSteps with { Checkpoints = Kept(resume: true) });

        AssertSame(history, again);
        AssertSame(weights, same);
        Assert.HasCount(1, _warned);
        Assert.Contains("step-00000006' is damaged", _warned[0]);
        Assert.Contains(file, _warned[0]);
        Assert.IsTrue(_said.Any(said => said.StartsWith("Resumed after step 5", StringComparison.Ordinal)));
    }

    [TestMethod]
    public void Run_AllDamaged_RefusesAndNamesThem()
    {
        Run(SixSteps with { Checkpoints = Kept() });
        foreach (string folder in Folders())
            Damage(_folder.File(Path.Combine(folder, "weights.safetensors")), 1);
        var thrown = Assert.ThrowsExactly<InvalidDataException>(() => Run(SixSteps with { Checkpoints = Kept(resume: true) }));
        Assert.Contains("step-00000005", thrown.Message);
        Assert.Contains("step-00000006", thrown.Message);
    }

    [TestMethod]
    public void Run_OtherOptionsOrClips_RefusesAndNamesWhatDiffers()
    {
        Run(SixSteps with { Checkpoints = Kept() });
        string Refusal(Func<TrainingSettings, TrainingSettings> change, int clips = 6, UNetLayout layout = UNetLayout.StreamParallel)
            => Assert.ThrowsExactly<InvalidOperationException>(() => Run(change(SixSteps) with { Checkpoints = Kept(resume: true) }, layout, clips)).Message;

        Assert.EndsWith("cannot be resumed from: LearningRate was 0.01 and is 0.02.", Refusal(settings => settings with { LearningRate = 0.02 }));
        string several = Refusal(settings => settings with { BatchSize = 3, EmaDecay = 0.9, Steps = 7, LearningRateSchedule = LearningRateSchedule.Linear });
        foreach (string said in new[] { "BatchSize was 2 and is 3", "EmaDecay was 0 and is 0.9", "Steps was 6 and is 7", "LearningRateSchedule was Cosine and is Linear" })
            Assert.Contains(said, several);
        Assert.Contains("clips and captions was 6, ", Refusal(settings => settings, clips: 5));
        Assert.Contains("Serial", Refusal(settings => settings, layout: UNetLayout.Serial));
    }

    [TestMethod]
    public void Run_ConstantRate_MayBeResumedWithMoreSteps()
    {
        var constant = SixSteps with { LearningRateSchedule = LearningRateSchedule.Constant };
        var (history, weights) = Run(constant);
        Run(constant with { Steps = 4, Checkpoints = Kept() });
        var (again, same) = Run(constant with { Checkpoints = Kept(resume: true) });
        AssertSame(history, again);
        AssertSame(weights, same);
    }

    [TestMethod]
    public void Run_FolderInUse_RefusesToBeginAnew()
    {
        Run(SixSteps with { Checkpoints = Kept() });
        Assert.Contains("the newest of step 6", Assert.ThrowsExactly<InvalidOperationException>(() => Run(SixSteps with { Checkpoints = Kept() })).Message);
    }

    [TestMethod]
    public void Run_NothingToResumeFrom_BeginsWithAWarning()
    {
        Assert.HasCount(6, Run(SixSteps with { Checkpoints = Kept(resume: true) }).History.Losses);
        Assert.Contains("no checkpoint", _warned.Single());
    }

    [TestMethod]
    public void Run_FolderIsAFile_SaysSoBeforeTheFirstStep()
    {
        _folder.File("taken", [1]);
        var settings = SixSteps with { Checkpoints = new CheckpointSettings { Folder = _folder.File("taken") } };
        Assert.Contains("taken", Assert.ThrowsExactly<IOException>(() => Run(settings, stopAfter: 0)).Message);
    }

    [TestMethod]
    public void Run_SaveFails_KeepsTheCheckpointsBefore()
    {
        var (history, weights) = Run(SixSteps);
        string blocked = _folder.File("step-00000004", [1]);
        Assert.Contains(blocked, Assert.ThrowsExactly<IOException>(() => Run(SixSteps with { Checkpoints = Kept() })).Message);
        CollectionAssert.AreEqual(new[] { "step-00000002", "step-00000003" }, Folders());

        File.Delete(blocked);
        var (again, same) = Run(SixSteps with { Checkpoints = Kept(resume: true) });
        AssertSame(history, again);
        AssertSame(weights, same);
    }

    [TestMethod]
    public void CheckSpace_TooLittle_SaysHowMuch()
    {
        Checkpoints.CheckSpace("here", 3 << 20, 3 << 20);
        var thrown = Assert.ThrowsExactly<IOException>(() => Checkpoints.CheckSpace("here", 3 << 20, 1 << 20));
        Assert.Contains("3 MiB are needed, 1 MiB are free", thrown.Message);
    }

    [TestMethod]
    public void IsDue_StepsAndMinutes_EitherIsEnough()
    {
        Checkpoints When(int every, double minutes) => new(
            new CheckpointSettings { Folder = _folder.Path, Every = every, Minutes = minutes }, new Dictionary<string, string>(), ranks: 1, _ => { }, _ => { });
        Assert.IsTrue(When(every: 3, minutes: 0).IsDue(6));
        Assert.IsFalse(When(every: 3, minutes: 1000).IsDue(7));
        Assert.IsFalse(When(every: 0, minutes: 0).IsDue(7));

        var soon = When(every: 0, minutes: 1e-6);
        Thread.Sleep(10);
        Assert.IsTrue(soon.IsDue(7));
    }

    private void StopAndResume(TrainingSettings settings, UNetLayout layout = UNetLayout.StreamParallel)
    {
        var (whole, weights) = Run(settings, layout);
        var kept = Kept() with { Every = 0 };
        Assert.ThrowsExactly<OperationCanceledException>(() => Run(settings with { Checkpoints = kept }, layout, stopAfter: 3));
        CollectionAssert.AreEqual(new[] { "step-00000003" }, Folders());
        var (resumed, same) = Run(settings with { Checkpoints = kept with { Resume = true } }, layout);

        Assert.HasCount(6, whole.Losses);
        AssertSame(whole, resumed);
        AssertSame(weights, same);
        Assert.IsEmpty(_warned);
    }

    private CheckpointSettings Kept(bool resume = false) => new() { Folder = _folder.Path, Every = 1, Kept = 2, Resume = resume };

    private string[] Folders() => [.. Directory.GetDirectories(_folder.Path).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal)];

    private (TrainingHistory History, byte[][] Weights) Run(
        TrainingSettings settings, UNetLayout layout = UNetLayout.StreamParallel, int clips = 6, int stopAfter = int.MaxValue)
    {
        using var model = Tiny.Video(layout);
        using var data = Tiny.Clips(model, clips);
        using var cancel = new CancellationTokenSource();
        var history = TrainingLoop.Run(model, data, settings, progress =>
        {
            if (progress.Step >= stopAfter)
                cancel.Cancel();
        }, cancel.Token, _said.Add, _warned.Add);
        using var scope = NewDisposeScope();
        return (history, [.. model.UNet.Temporal.parameters().Select(parameter => parameter.detach().contiguous().bytes.ToArray())]);
    }

    private static void Damage(string path, int? change)
    {
        byte[] bytes = File.ReadAllBytes(path);
        if (change is null)
            File.Delete(path);
        else if (change < 0)
            File.WriteAllBytes(path, bytes[..^-change.Value]);
        else
        {
            bytes[change.Value] ^= 1;
            File.WriteAllBytes(path, bytes);
        }
    }

    private static void AssertSame(TrainingHistory expected, TrainingHistory actual)
    {
        CollectionAssert.AreEqual(expected.Losses.ToArray(), actual.Losses.ToArray());
        CollectionAssert.AreEqual(expected.HeldOut.ToArray(), actual.HeldOut.ToArray());
    }

    private static void AssertSame(byte[][] expected, byte[][] actual)
        => Assert.IsTrue(expected.Length == actual.Length && expected.Zip(actual).All(pair => pair.First.AsSpan().SequenceEqual(pair.Second)), "The weights differ.");
}
