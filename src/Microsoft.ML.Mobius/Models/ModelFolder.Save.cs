using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Files;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Models;

internal static partial class ModelFolder
{
    private const string Version = "_mobius_version";

    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };
    private static readonly string[] s_components = ["scheduler", "text_encoder", "tokenizer", "unet", "vae"];

    // What diffusers' UNet3DConditionModel knows.
    private static readonly string[] s_unet3DKeys =
    [
        "_class_name", "sample_size", "in_channels", "out_channels", "down_block_types", "up_block_types", "block_out_channels", "layers_per_block",
        "downsample_padding", "mid_block_scale_factor", "act_fn", "norm_num_groups", "norm_eps", "cross_attention_dim", "attention_head_dim", "num_attention_heads",
        "time_cond_proj_dim",
    ];

    /// <summary>
    /// Writes a model as a folder, weights in float32: one of diffusers' TextToVideoSDPipeline where the U-Net is one that diffusers has, otherwise one of our
    /// own, with the spatial and the temporal half of the U-Net in a file each.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="folder">Must not be there, be empty, or be a folder that this wrote, which is replaced.</param>
    /// <param name="frames">Frames per clip, to be written down.</param>
    /// <param name="side">Pixels of each side, to be written down; null keeps what the model says.</param>
    /// <param name="around">
    /// The pretrained model that this one was made around: then the temporal half alone is written, and a reference to it. Null writes everything.
    /// </param>
    /// <returns>Why it is not one of diffusers' pipelines; null if it is.</returns>
    /// <exception cref="IOException">The folder is another's, or cannot be written.</exception>
    /// <exception cref="WeightMismatchException">The model referred to has other weights.</exception>
    public static string? Save(TextToVideoModel model, string folder, int frames, int? side, string? around)
    {
        string whole = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        string? own = around is not null ? "its image half is referred to, not stored" : WhyNotDiffusers(model.UNet.Config);
        string? reference = around is null ? null : Reference(model, whole, around);
        FolderAside.Write(folder, CheckIsOurs, aside =>
        {
            void Json(string name, JsonNode json)
            {
                Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(aside, name))!);
                File.WriteAllText(Path.Combine(aside, name), json.ToJsonString(s_indented));
            }

            void Weights(string name, IEnumerable<KeyValuePair<string, Tensor>> weights)
            {
                Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(aside, name))!);
                using var stream = File.Create(Path.Combine(aside, name));
                Safetensors.Write(stream, weights, ScalarType.Float32);
            }

            Json("model_index.json", Index(model, own is null, reference));
            Json("unet/config.json", UNet(model.UNet.Config, own is null, frames, side / model.Factor));
            if (own is null)
                Weights("unet/diffusion_pytorch_model.safetensors", Linear(StateDict.Of(model.UNet.Spatial)).Concat(StateDict.Of(model.UNet.Temporal)));
            else
                Weights(Temporal, StateDict.Of(model.UNet.Temporal));
            if (around is not null)
                return;
            if (own is not null)
                Weights(Spatial, StateDict.Of(model.UNet.Spatial));
            Json("scheduler/scheduler_config.json", JsonSerializer.SerializeToNode(model.Schedule.Config)!);
            Json("text_encoder/config.json", With(JsonNode.Parse(model.TextEncoder.Config.ToJson())!,
                """{"architectures": ["CLIPTextModel"], "model_type": "clip_text_model"}"""));
            Weights("text_encoder/model.safetensors", StateDict.Of(model.TextEncoder));
            model.Tokenizer.Save(Path.Combine(aside, "tokenizer"));
            var vae = model.Autoencoder.Config();
            string Blocks(string name) => string.Join(", ", vae.BlockOutChannels.Select(_ => $"\"{name}\""));
            Json("vae/config.json", With(JsonSerializer.SerializeToNode(vae)!,
                $$"""
                {
                  "_class_name": "AutoencoderKL", "act_fn": "silu",
                  "down_block_types": [{{Blocks("DownEncoderBlock2D")}}], "up_block_types": [{{Blocks("UpDecoderBlock2D")}}]
                }
                """));
            Weights("vae/diffusion_pytorch_model.safetensors", StateDict.Of(model.Autoencoder));
        });
        return own;
    }

    private static JsonObject Index(TextToVideoModel model, bool diffusers, string? reference)
    {
        static JsonArray Class(string library, string name) => [library, name];
        var index = new JsonObject { ["_class_name"] = diffusers ? "TextToVideoSDPipeline" : OwnPipeline, [Version] = 1 };
        if (reference is not null)
            index[BaseModel] = reference;
        else
        {
            index["scheduler"] = Class("diffusers", model.Schedule.Config.ClassName);
            index["text_encoder"] = Class("transformers", "CLIPTextModel");
            index["tokenizer"] = Class("transformers", "CLIPTokenizer");
            index["vae"] = Class("diffusers", "AutoencoderKL");
        }
        index["unet"] = diffusers ? Class("diffusers", UNet3D) : Class("mobius", OwnUNet);
        return index;
    }

    private static JsonObject UNet(UNetConfig config, bool diffusers, int frames, int? side)
    {
        var json = JsonSerializer.SerializeToNode(config)!.AsObject();
        json["num_frames"] = frames;
        json["sample_size"] = side ?? config.SampleSize;
        if (!diffusers)
        {
            json["_class_name"] = OwnUNet;
            json[SpatialClass] = config.ClassName;
            return json;
        }

        static JsonArray Blocks(IReadOnlyList<string> names) => [.. names.Select(name => (JsonNode)name.Replace("2D", "3D", StringComparison.Ordinal))];
        foreach (string key in json.Select(pair => pair.Key).Where(key => key.StartsWith("mobius_", StringComparison.Ordinal)
            || (config.ClassName == UNet2D && key != "num_frames" && !s_unet3DKeys.Contains(key))).ToArray())
            json.Remove(key);
        json["_class_name"] = UNet3D;
        json["down_block_types"] = Blocks(config.DownBlockTypes);
        json["up_block_types"] = Blocks(config.UpBlockTypes);
        json["attention_head_dim"] = HeadSizes(config)[0];
        json["num_attention_heads"] = null;
        return json;
    }

    /// <summary>What keeps the U-Net from being diffusers' UNet3DConditionModel; null if nothing does.</summary>
    private static string? WhyNotDiffusers(UNetConfig config)
    {
        if (config.Layout != UNetLayout.Serial)
            return $"diffusers has no {config.Layout} U-Net";
        if (config.TemporalText || config.FramePositions)
            return "diffusers' temporal layers know neither the text nor the frames' places";
        if (config.TemporalNormGroups != config.NormNumGroups)
            return $"its temporal norms have {config.TemporalNormGroups} groups, the others {config.NormNumGroups}, as in old versions of diffusers only";
        return HeadSizes(config) is { Length: > 1 } sizes
            ? $"diffusers' 3D U-Net has attention heads of one size, this one of {string.Join(" and ", sizes)} channels" : null;
    }

    /// <summary>The different sizes of attention heads, over all levels.</summary>
    private static int[] HeadSizes(UNetConfig config) => [.. config.BlockOutChannels.Select((channels, k) => channels / config.Heads(k)).Distinct()];

    /// <summary>Projections as linear layers, as the 3D U-Net has them.</summary>
    private static IEnumerable<KeyValuePair<string, Tensor>> Linear(IEnumerable<KeyValuePair<string, Tensor>> weights)
        => weights.Select(weight => weight.Key.EndsWith(".proj_in.weight", StringComparison.Ordinal) || weight.Key.EndsWith(".proj_out.weight", StringComparison.Ordinal)
            ? KeyValuePair.Create(weight.Key, weight.Value.flatten(1)) : weight);

    private static JsonNode With(JsonNode json, string defaults)
    {
        foreach (var (key, value) in JsonNode.Parse(defaults)!.AsObject())
            json.AsObject().TryAdd(key, value?.DeepClone());
        return json;
    }

    /// <summary>The path to the model referred to, once its weights are known to be this one's.</summary>
    private static string Reference(TextToVideoModel model, string folder, string around)
    {
        string path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(around));
        if (path == folder)
            throw new ArgumentException($"The model cannot be saved to '{folder}' and refer to it.", nameof(around));
        var source = ModelSource.Open(path);
        foreach (var (part, module) in new (ModelPart, nn.Module)[]
        {
            (ModelPart.TextEncoder, model.TextEncoder), (ModelPart.Autoencoder, model.Autoencoder), (ModelPart.Spatial, model.UNet.Spatial),
        })
        {
            using var weights = source.Weights[part].For(module);
            string[] other = [.. StateDict.Of(module).Where(pair => !IsSame(pair.Value, weights, pair.Key)).Select(pair => pair.Key)];
            if (other.Length > 0)
                throw new WeightMismatchException($"'{around}' cannot be referred to: {other.Length} weights of {weights.Name} are not this model's, the first of them {other[0]}.");
        }
        return Path.GetRelativePath(folder, path).Replace('\\', '/');
    }

    private static bool IsSame(Tensor weight, WeightFile file, string name)
    {
        if (!file.Entries.TryGetValue(name, out var entry) || !entry.Shape.AsSpan().SequenceEqual(weight.shape))
            return false;
        using var scope = NewDisposeScope();
        using var stored = file.Read(name, weight.dtype);
        return stored.Equals(weight.cpu());
    }

    /// <exception cref="IOException">The folder holds anything that <see cref="Save"/> does not write.</exception>
    private static void CheckIsOurs(string folder)
    {
        string index = Path.Combine(folder, "model_index.json");
        bool ours = File.Exists(index) && ComponentConfig.Read(folder, "model_index.json").Json.ContainsKey(Version)
            && Directory.EnumerateFileSystemEntries(folder).All(path => path == index || s_components.Contains(Path.GetFileName(path)));
        if (!ours)
            throw new IOException($"The folder '{folder}' is not empty, and not one that SavePretrained wrote: it is left as it is. Choose another.");
    }
}
