// What tests start with mpirun: one of several ranks, or the one process that they are compared with.
//   train OUT key=value...       trains the tiny model; rank 0 writes losses.txt and weights.safetensors to OUT
//   fit OUT key=value...         the same by the trainer, with OUT as its training folder
//   generate PROMPT...           prints the hash of each prompt's video
// Each rank tells its process on standard output, and in the end the hash of its weights.
using System.Globalization;
using System.Security.Cryptography;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Mobius;
using Microsoft.ML.Mobius.Distributed;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Tests;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Video;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;

var values = args.Skip(2).Select(argument => argument.Split('=')).Where(pair => pair.Length == 2).ToDictionary(pair => pair[0], pair => pair[1]);
double Number(string key, double usual) => values.TryGetValue(key, out string? text) ? double.Parse(text, CultureInfo.InvariantCulture) : usual;

System.Runtime.CompilerServices.RuntimeHelpers.RunModuleConstructor(typeof(ProcessGroup).Module.ModuleHandle);
torch.set_num_threads((int)Number("threads", 1));
var group = ProcessGroup.Current;
Console.WriteLine($"rank {group.Rank} is process {Environment.ProcessId}, {group.Size} in all");
try
{
    return group.Guard(() => args[0] switch
    {
        "train" => Train(args[1]),
        "fit" => Fit(args[1]),
        "generate" => Generate(args[1..]),
        _ => 2,
    });
}
catch (Exception e)
{
    Console.Error.WriteLine($"Failed: {e.Message}");
    return 1;
}

int Train(string folder)
{
    using var model = Tiny.Video(Enum.Parse<UNetLayout>(values.GetValueOrDefault("layout", "StreamParallel")), divisor: 2);
    using var data = Tiny.Clips(model);
    bool isOther = group.Rank == 1;
    using (torch.no_grad())
        if (isOther && values.ContainsKey("nan"))
            data.LatentsOf((int)Number("nan", 0))[0].Mean.fill_(float.NaN);
        else if (isOther && values.ContainsKey("broken"))
            data.LatentsOf((int)Number("broken", 0))[0].Mean.Dispose();
    var settings = new TrainingSettings
    {
        Steps = (int)Number("steps", 3), BatchSize = (int)Number("batch", 2), GradientAccumulationSteps = (int)Number("accumulation", 1), WarmupSteps = 1, EvaluateEvery = 0,
        HeldOutFraction = Number("heldOut", 0), EmaDecay = Number("ema", 0), RecomputeActivations = values.ContainsKey("recompute"), LearningRate = isOther ? Number("otherRate", 1e-3) : 1e-3,
        Checkpoints = values.ContainsKey("every")
            ? new CheckpointSettings { Folder = Path.Combine(folder, "checkpoints"), Every = (int)Number("every", 1), Resume = values.ContainsKey("resume") } : null,
    };
    var history = TrainingLoop.Run(model, data, settings, at => Console.WriteLine($"step {at.Step}"), say: Console.WriteLine, warn: Console.WriteLine);
    Console.WriteLine($"rank {group.Rank} has {RunIdentity.Hash(model.UNet.Temporal)}");
    if (!group.IsFirst)
        return 0;
    File.WriteAllLines(Path.Combine(folder, "losses.txt"), history.Losses.Select(point => point.Loss.ToString("R", CultureInfo.InvariantCulture)));
    Safetensors.Write(Path.Combine(folder, "weights.safetensors"), StateDict.Of(model.UNet.Temporal));
    return 0;
}

int Fit(string folder)
{
    var ml = new MLContext(3);
    ml.Log += (_, log) =>
    {
        if (log.Kind is Microsoft.ML.Runtime.ChannelMessageKind.Info && log.Source.Contains("TextToVideo", StringComparison.Ordinal))
            Console.WriteLine(log.RawMessage);
    };
    var pixels = new byte[2 * 16 * 16 * 3];
    var rows = Enumerable.Range(0, 5).Select(i =>
    {
        new Random(i).NextBytes(pixels);
        return new ClipRow { Caption = $"clip {i}", Clip = new VideoClip(pixels, 2, 16, 16, 8) };
    }).ToList();
    var trainer = new TextToVideoTrainer(ml, new TextToVideoTrainer.Options
    {
        FrameCount = 2, Height = 16, Width = 16, Steps = (int)Number("steps", 2), BatchSize = 2, SamplingSteps = 2, HeldOutFraction = 0.25, WarmupSteps = 1,
        TemporalWidthDivisor = 2, Layout = UNetLayout.StreamParallel, TrainingFolder = folder, GradientAccumulationSteps = (int)Number("accumulation", 1), SampleEvery = 0,
    }, TinyModel.Base);
    using var model = trainer.Fit(ml.Data.LoadFromEnumerable(rows));
    Console.WriteLine($"rank {group.Rank} has {RunIdentity.Hash(model.Model.UNet.Temporal)} {model.History.HeldOut[^1].Loss.ToString("R", CultureInfo.InvariantCulture)}");
    return 0;
}

int Generate(string[] prompts)
{
    var ml = new MLContext(3);
    var trainer = new TextToVideoTrainer(ml, new TextToVideoTrainer.Options
    {
        FrameCount = 2, Height = 16, Width = 16, Steps = 0, SamplingSteps = 2, TemporalWidthDivisor = 2, Layout = UNetLayout.StreamParallel,
    }, TinyModel.Base);
    var view = ml.Data.LoadFromEnumerable(prompts.Select(prompt => new PromptRow { Caption = prompt }));
    using var model = trainer.Fit(view);
    foreach (var (i, clip) in model.Transform(view).GetColumn<VideoClip>("Video").Index())
        Console.WriteLine($"rank {group.Rank} row {i} {Convert.ToHexString(SHA256.HashData(clip.Pixels.Span))}");
    return 0;
}

internal sealed class ClipRow
{
    public string Caption { get; set; } = "";
    [VideoType] public VideoClip? Clip { get; set; }
}

internal sealed class PromptRow
{
    public string Caption { get; set; } = "";
}
