using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Distributed;
using Microsoft.ML.Mobius.Files;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;

namespace Microsoft.ML.Mobius.Cli;

/// <summary>Trains a model on a folder of captioned clips.</summary>
internal static class TrainCommand
{
    public static ExampleCommand Define(MobiusCommand mobius)
    {
        var clips = CommandOptions.Path("--clips", "FOLDER", "Clips with captions.jsonl, a .csv file, or a .txt file of the same name each", required: true);
        var output = CommandOptions.Path("--out", "FOLDER", "Folder for model.zip, options.json, checkpoints and logs", required: true);
        var options = CommandOptions.Path("--options", "FILE", "Options of the trainer as JSON, as options.json in the output folder (default: those of the trainer)");
        var model = CommandOptions.Path("--model", "PATH", "Model to start from: a diffusers folder or a Stable Diffusion 1.x file (default: the embedded one)");
        var layout = CommandOptions.OneOf<UNetLayout>("--layout", "How temporal layers join");
        var steps = CommandOptions.Whole("--steps", "Training steps", least: 0);
        var batch = CommandOptions.Whole("--batch-size", "Clips per batch", least: 1);
        var learningRate = CommandOptions.Number("--learning-rate", "Highest learning rate", double.Epsilon, 1);
        var frames = CommandOptions.Whole("--frames", "Frames per clip", least: 1);
        var rate = CommandOptions.Number("--frame-rate", "Frames per second", 0.001, 1000);
        var seed = CommandOptions.Whole("--seed", "Seed of everything", long.MinValue, long.MaxValue);
        var every = CommandOptions.Whole("--checkpoint-every", "Steps between two checkpoints", least: 0);
        var resume = new Option<bool>("--resume") { Description = "Go on from the newest checkpoint in the output folder, with the options.json there unless --options names another" };
        var gpu = CommandOptions.Gpu();

        var command = new ExampleCommand("train", "Trains a model on captioned clips.",
            "mobius train --clips clips --out out",
            "mobius train --clips clips --out out --options options.json --steps 2000",
            "mobius train --clips clips --out out --resume")
        {
            clips, output, options, model, layout, steps, batch, learningRate, frames, rate, seed, every, resume, gpu,
        };
        command.SetAction(parsed =>
        {
            var terminal = mobius.TerminalFor(parsed);
            string folder = parsed.GetValue(output)!, ownOptions = Path.Combine(folder, "options.json");
            string? file = parsed.GetValue(options) ?? (parsed.GetValue(resume) && File.Exists(ownOptions) ? ownOptions : null);
            if (file is not null && !File.Exists(file))
                throw new FileNotFoundException($"The file of options '{file}' does not exist.");
            var asked = file is null ? new TextToVideoTrainer.Options() : TextToVideoTrainer.Options.Read(file);
            asked.ModelPath = parsed.GetValue(model) ?? asked.ModelPath;
            asked.Layout = parsed.GetValue(layout) ?? asked.Layout;
            asked.Steps = (int?)parsed.GetValue(steps) ?? asked.Steps;
            asked.BatchSize = (int?)parsed.GetValue(batch) ?? asked.BatchSize;
            asked.LearningRate = parsed.GetValue(learningRate) ?? asked.LearningRate;
            asked.FrameCount = (int?)parsed.GetValue(frames) ?? asked.FrameCount;
            asked.FrameRate = parsed.GetValue(rate) ?? asked.FrameRate;
            asked.Seed = parsed.GetValue(seed) ?? asked.Seed ?? 0;
            asked.CheckpointEvery = (int?)parsed.GetValue(every) ?? asked.CheckpointEvery;
            asked.CheckpointFolder ??= Path.Combine(folder, "checkpoints");
            asked.TensorBoardFolder ??= Path.Combine(folder, "logs");
            asked.Resume = parsed.GetValue(resume);
            Run(parsed.GetValue(clips)!, folder, ownOptions, asked, (int?)parsed.GetValue(gpu), terminal);
        });
        return command;
    }

    private static void Run(string clipFolder, string folder, string optionsFile, TextToVideoTrainer.Options options, int? gpu, Terminal terminal)
    {
        var clips = CaptionedClip.ReadFolder(clipFolder);
        WritableFolder.Make(folder, "The output folder");
        var mlContext = terminal.Context(options.Seed, gpu);
        var data = mlContext.Data.LoadFromEnumerable(clips);
        terminal.Say($"Training on {clips.Count} clips, {options.Steps} steps.");
        using var model = terminal.Watch("Training", meter =>
        {
            // A run that is refused leaves the options of the one before.
            options.Progress = new Steps(meter, () => options.Write(optionsFile));
            options.CancellationToken = terminal.Token;
            try
            {
                var fitted = mlContext.Transforms.TextToVideo(options).Fit(data);
                if (ProcessGroup.IsStartedFirst)
                    options.Write(optionsFile);
                return fitted;
            }
            catch (OperationCanceledException e)
            {
                string kept = Directory.Exists(options.CheckpointFolder) && OpenedModel.IsOfCheckpoints(options.CheckpointFolder)
                    ? $"What was trained is saved in '{options.CheckpointFolder}': --resume goes on from there." : "No step was finished.";
                throw new OperationCanceledException(kept, e, terminal.Token);
            }
        });

        if (!ProcessGroup.IsStartedFirst)
            return;
        string file = Path.Combine(folder, "model.zip");
        FileAside.Write(file, aside => mlContext.Model.Save(model, data.Schema, aside));
        string? lora = options.TrainedPart == TrainedPart.Temporal || options.Steps == 0 ? null : Path.Combine(folder, "lora.safetensors");
        if (lora is not null)
            model.SaveLora(lora);
        var result = new JsonObject
        {
            ["model"] = file, ["lora"] = lora, ["options"] = optionsFile, ["checkpoints"] = options.CheckpointFolder, ["logs"] = options.TensorBoardFolder,
            ["clips"] = clips.Count, ["steps"] = options.Steps, ["seconds"] = Math.Round(model.History.Seconds, 1),
            ["firstHeldOutLoss"] = model.History.HeldOut is [var first, ..] ? first.Loss : null,
            ["lastHeldOutLoss"] = model.History.HeldOut is [.., var last] ? last.Loss : null,
            ["peakMemoryMebibytes"] = model.History.PeakMemoryBytes >> 20,
        };
        terminal.Show(result);
    }

    private sealed class Steps(Meter meter, Action begun) : IProgress<TrainingProgress>
    {
        private const double Smoothing = 0.95;

        private double? _loss;

        public void Report(TrainingProgress value)
        {
            if (_loss is null)
                begun();
            _loss = Smoothing * (_loss ?? value.Loss) + (1 - Smoothing) * value.Loss;
            meter((double)value.Step / value.Steps, string.Create(CultureInfo.InvariantCulture,
                $"step {value.Step}/{value.Steps}  loss {_loss:F4}  {value.StepsPerSecond:F2} it/s"));
        }
    }
}
