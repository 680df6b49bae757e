using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Diffusion;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Cli;

/// <summary>Tells what is in a model, a folder of checkpoints or a file of weights.</summary>
internal static class InspectCommand
{
    public static ExampleCommand Define(MobiusCommand mobius)
    {
        var path = new Argument<string>("PATH") { Description = "A model .zip, a folder with a model or with checkpoints, or a file of weights (.safetensors, .bin, .ckpt, .pt)" };
        var command = new ExampleCommand("inspect", "Tells what is in a model, a folder of checkpoints or a file of weights.",
            "mobius inspect out/model.zip", "mobius inspect out/checkpoints", "mobius inspect style.safetensors --json") { path };
        command.SetAction(parsed =>
        {
            var terminal = mobius.TerminalFor(parsed);
            terminal.Show(Inspect(parsed.GetValue(path)!, terminal));
        });
        return command;
    }

    private static JsonObject Inspect(string path, Terminal terminal)
    {
        if (!Path.Exists(path))
            throw new FileNotFoundException($"'{path}' does not exist.");
        if (Directory.Exists(path) && OpenedModel.IsOfCheckpoints(path))
            return Checkpoints(path);
        if (Directory.Exists(path) && File.Exists(Path.Combine(path, "model_index.json")))
            return Folder(path);
        if (OpenedModel.FileOf(path) is not { } zip)
            return Weights(path);
        using var opened = OpenedModel.Open(terminal.Context(), zip, terminal);
        return Model(zip, opened.Video);
    }

    private static JsonObject Model(string path, TextToVideoTransformer transformer)
    {
        var (model, how, history) = (transformer.Model, transformer.Generation, transformer.History);
        JsonObject Part(string name, nn.Module module) => Count(name, StateDict.Of(module).Select(pair => (pair.Value.dtype, pair.Value.shape)));
        return new JsonObject
        {
            ["path"] = path, ["kind"] = "text-to-video model of ML.NET (.zip)", ["layout"] = $"{transformer.Layout}",
            ["parameters"] = transformer.ParameterCount, ["trainedParameters"] = transformer.TrainedParameterCount,
            ["pixelsPerLatent"] = model.Factor, ["longestPromptTokens"] = model.Tokenizer.MaxLength - 2,
            ["parts"] = new JsonArray(
                Part("text encoder", model.TextEncoder), Part("autoencoder", model.Autoencoder), Part("spatial", model.UNet.Spatial), Part("temporal", model.UNet.Temporal)),
            ["noise"] = Noise(model.Schedule.Config),
            ["generation"] = new JsonObject
            {
                ["frames"] = how.FrameCount, ["width"] = how.Width, ["height"] = how.Height, ["frameRate"] = how.FrameRate, ["steps"] = how.SamplingSteps,
                ["sampler"] = how.Sampler is { } sampler ? $"{sampler}" : "the model's own", ["guidanceScale"] = how.GuidanceScale,
                ["guidanceRescale"] = how.GuidanceRescale, ["eta"] = how.Eta, ["negativePrompt"] = how.NegativePrompt, ["seed"] = how.Seed,
                ["loop"] = how.Loop, ["frameWindow"] = how.FrameWindow, ["frameOverlap"] = how.Settings.FrameOverlap, ["strength"] = how.Strength,
                ["heldFrames"] = how.HeldFrames, ["promptWeights"] = how.PromptWeights, ["decodeRows"] = how.DecodeRows,
                ["keyFrames"] = how.KeyFrames, ["guidanceInTurn"] = how.GuidanceInTurn, ["spatialFrameChunk"] = how.SpatialFrameChunk,
                ["deepCacheInterval"] = how.DeepCacheInterval,
            },
            ["training"] = new JsonObject
            {
                ["steps"] = history.Losses.Count > 0 ? history.Losses[^1].Step : 0, ["seconds"] = Math.Round(history.Seconds, 1),
                ["firstHeldOutLoss"] = history.HeldOut is [var first, ..] ? first.Loss : null,
                ["lastHeldOutLoss"] = history.HeldOut is [.., var last] ? last.Loss : null, ["peakMemoryMebibytes"] = history.PeakMemoryBytes >> 20,
            },
            ["loras"] = new JsonArray([.. transformer.Loras.Select(lora => new JsonObject
            {
                ["file"] = lora.File, ["scale"] = lora.Scale, ["layers"] = lora.Layers.Count,
            })]),
        };
    }

    private static JsonObject Folder(string path)
    {
        var source = ModelSource.Open(path);
        JsonObject Part(ModelPart part, WeightSource from)
        {
            using var file = from.Open();
            var count = Count(Words(part), file.Entries.Values.Where(entry => from.Includes(entry.Name)).Select(entry => (entry.Type, entry.Shape)));
            count["file"] = from.Name;
            return count;
        }

        return new JsonObject
        {
            ["path"] = path,
            ["kind"] = $"{(source.HasTemporal ? "text-to-video" : "text-to-image")} model in a folder "
                + $"({JsonNode.Parse(File.ReadAllText(Path.Combine(path, "model_index.json")))!["_class_name"]})",
            ["layout"] = source.HasTemporal ? $"{source.UNet.Layout}" : null,
            ["frames"] = source.FrameCount, ["side"] = source.UNet.SampleSize * source.Autoencoder.Factor, ["pixelsPerLatent"] = source.Autoencoder.Factor,
            ["longestPromptTokens"] = source.TextEncoder.MaxPositionEmbeddings - 2,
            ["parts"] = new JsonArray([.. source.Weights.Select(pair => Part(pair.Key, pair.Value))]),
            ["noise"] = Noise(source.Schedule),
            ["unet"] = UNet(source.UNet),
        };
    }

    private static JsonObject Checkpoints(string path)
    {
        string[] folders = File.Exists(Path.Combine(path, "checkpoint.json")) ? [path] : [.. Directory.EnumerateDirectories(path, "step-*").Order(StringComparer.Ordinal)];
        var rows = new JsonArray();
        JsonObject? run = null;
        foreach (string folder in folders)
        {
            var row = new JsonObject { ["checkpoint"] = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder))) };
            rows.Add(row);
            try
            {
                var manifest = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "checkpoint.json")))!;
                var files = manifest["Files"]!.AsObject();
                var progress = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "progress.json")))!;
                row["step"] = manifest["Step"]!.GetValue<int>();
                row["mebibytes"] = files.Sum(file => file.Value!["Bytes"]!.GetValue<long>()) >> 20;
                row["seconds"] = Math.Round(progress["Seconds"]!.GetValue<double>(), 1);
                row["heldOutLoss"] = progress["HeldOut"]!.AsArray() is { Count: > 0 } losses ? losses[^1]!["Loss"]!.GetValue<double>() : null;
                row["ofTheSizesWritten"] = files.All(file => new FileInfo(Path.Combine(folder, file.Key)) is { Exists: true } there
                    && there.Length == file.Value!["Bytes"]!.GetValue<long>());
                run = manifest["Run"]!.DeepClone().AsObject();
            }
            catch (Exception e) when (e is IOException or JsonException or NullReferenceException or InvalidOperationException)
            {
                row["ofTheSizesWritten"] = false;
            }
        }
        return new JsonObject
        {
            ["path"] = path, ["kind"] = "checkpoints, the state of a training (not a model to generate with)", ["checkpoints"] = rows, ["run"] = run,
        };
    }

    private static JsonObject Weights(string path)
    {
        using var file = WeightFile.Open(path);
        var entries = file.Entries.Values.ToArray();
        var byPart = entries.GroupBy(entry => entry.Name.Split('.')[0]).ToArray();
        if (byPart.Length == 1)
            byPart = [.. entries.GroupBy(entry => string.Join('.', entry.Name.Split('.').Take(2)))];
        return new JsonObject
        {
            ["path"] = path, ["kind"] = Kind(entries), ["tensors"] = entries.Length, ["parameters"] = Parameters(entries.Select(entry => entry.Shape)),
            ["types"] = Types(entries.Select(entry => entry.Type)),
            ["parts"] = new JsonArray([.. byPart.Select(part => Count(part.Key, part.Select(entry => (entry.Type, entry.Shape))))]),
            ["metadata"] = new JsonObject(file.Metadata.Select(pair => KeyValuePair.Create<string, JsonNode?>(pair.Key, Terminal.Shortened(pair.Value, 200)))),
        };
    }

    private static string Kind(WeightEntry[] entries)
    {
        bool Any(string part) => entries.Any(entry => entry.Name.Contains(part, StringComparison.OrdinalIgnoreCase));
        return Any("lora") ? "LoRA" : Any("motion_modules.") ? "motion modules of AnimateDiff" : Any("model.diffusion_model.") ? "Stable Diffusion in one file" : "weights";
    }

    private static JsonObject Noise(NoiseScheduleConfig config) => new()
    {
        ["scheduler"] = config.ClassName, ["predicts"] = config.PredictionType, ["betas"] = string.Create(CultureInfo.InvariantCulture,
            $"{config.BetaSchedule} {config.BetaStart} to {config.BetaEnd} in {config.TrainTimesteps} steps{(config.RescaleBetasZeroSnr == true ? ", ending without signal" : "")}"),
    };

    private static JsonObject UNet(UNetConfig config) => new()
    {
        ["channels"] = new JsonArray([.. config.BlockOutChannels.Select(channels => JsonValue.Create(channels))]), ["layersPerBlock"] = config.LayersPerBlock,
        ["textWidth"] = config.CrossAttentionDim, ["temporalWidthDivisor"] = config.TemporalWidthDivisor, ["resampling"] = config.Resampling.ToString(), ["joinedLevels"] = config.JoinedLevels, ["trainJoinedLevels"] = config.TrainJoinedLevels, ["temporalText"] = config.TemporalText,
        ["framePositions"] = config.FramePositions,
    };

    private static JsonObject Count(string part, IEnumerable<(ScalarType Type, long[] Shape)> tensors)
    {
        var all = tensors.ToArray();
        return new JsonObject
        {
            ["part"] = part, ["tensors"] = all.Length, ["parameters"] = Parameters(all.Select(tensor => tensor.Shape)), ["type"] = Types(all.Select(tensor => tensor.Type)),
        };
    }

    private static long Parameters(IEnumerable<long[]> shapes) => TensorCount.Of(shapes).Parameters;

    private static string Types(IEnumerable<ScalarType> types) => string.Join(", ", types.Distinct().Select(type => $"{type}".ToLowerInvariant()));

    private static string Words(ModelPart part) => part == ModelPart.TextEncoder ? "text encoder" : $"{part}".ToLowerInvariant();
}
