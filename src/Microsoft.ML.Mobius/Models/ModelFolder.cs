using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.Diffusion;
using Microsoft.ML.Mobius.Text;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;

namespace Microsoft.ML.Mobius.Models;

/// <summary>
/// A folder in diffusers' layout: model_index.json names the class of every component, and each has a folder with its config and weights. Opens image models
/// (UNet2DConditionModel), video models (UNet3DConditionModel) and the folders that <see cref="Save"/> writes.
/// </summary>
internal static partial class ModelFolder
{
    private const string OwnPipeline = "MobiusPipeline", OwnUNet = "MobiusUNet";
    private const string UNet2D = "UNet2DConditionModel", UNet3D = "UNet3DConditionModel";
    private const string Spatial = "unet/spatial.safetensors", Temporal = "unet/temporal.safetensors";
    private const string BaseModel = "_base_model", SpatialClass = "mobius_spatial_class";
    private const int LargestWidth = 1 << 16, MostLayers = 64;

    private static readonly string[] s_pipelines = ["StableDiffusionPipeline", "TextToVideoSDPipeline", OwnPipeline];

    // diffusers' defaults of what it may leave out, where they are not ours, and the values that there are layers for here.
    private const string AutoencoderDefaults = """{"layers_per_block": 1, "norm_num_groups": 32, "latent_channels": 4, "scaling_factor": 0.18215}""";
    private const string AutoencoderSupported = """
        {
          "act_fn": ["silu", "swish"], "latents_mean": [null], "mid_block_add_attention": [true], "shift_factor": [null], "use_post_quant_conv": [true],
          "use_quant_conv": [true]
        }
        """;

    private const string ScheduleDefaults = """
        {
          "num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear", "prediction_type": "epsilon",
          "set_alpha_to_one": true, "steps_offset": 0
        }
        """;
    private const string ScheduleSupported = """{"trained_betas": [null]}""";

    /// <param name="folder">The folder.</param>
    /// <param name="tokenizer">Another tokenizer's folder, or null.</param>
    /// <exception cref="IOException">A file is not there.</exception>
    /// <exception cref="InvalidDataException">A file is damaged, or of a class that is not supported.</exception>
    public static ModelSource Open(string folder, string? tokenizer) => Open(folder, tokenizer, mayRefer: true);

    private static ModelSource Open(string folder, string? tokenizer, bool mayRefer)
    {
        var index = ComponentConfig.Read(folder, "model_index.json");
        string pipeline = index.Json["_class_name"]?.ToString() ?? "";
        if (!s_pipelines.Contains(pipeline))
            throw index.Wrong("_class_name", $"supported are {string.Join(", ", s_pipelines)}");
        if (pipeline == OwnPipeline && index.Json[BaseModel]?.ToString() is { } other)
            return Around(mayRefer ? other : throw index.Wrong(BaseModel, $"the model it stands for, '{folder}', was itself referred to; only whole models can be"),
                folder, index, tokenizer);

        ClassOf(index, "text_encoder", "CLIPTextModel");
        ClassOf(index, "tokenizer", "CLIPTokenizer", "CLIPTokenizerFast");
        var text = ComponentConfig.Read(folder, "text_encoder/config.json");
        var textConfig = ClipTextConfig.Parse(text.Json.ToJsonString());
        var vae = ComponentConfig.Read(folder, "vae/config.json").OfClass(ClassOf(index, "vae", "AutoencoderKL")).WithDefaults(AutoencoderDefaults)
            .Supporting(AutoencoderSupported).Whole(LargestWidth, "block_out_channels", "norm_num_groups", "latent_channels").Whole(MostLayers, "layers_per_block");
        if (vae.Json.ContainsKey("down_block_types"))
            vae.ListOf("down_block_types", "DownEncoderBlock2D").ListOf("up_block_types", "UpDecoderBlock2D");
        var (unet, frames) = UNet(folder, ClassOf(index, "unet", pipeline == OwnPipeline ? [OwnUNet] : [UNet2D, UNet3D]));

        var weights = new Dictionary<ModelPart, WeightSource>
        {
            [ModelPart.TextEncoder] = Whole(folder, ["text_encoder/model", "text_encoder/pytorch_model"], ClipTextModel.CurrentName),
            [ModelPart.Autoencoder] = Whole(folder, ["vae/diffusion_pytorch_model"], AutoencoderKl.CurrentName),
        };
        if (pipeline == OwnPipeline)
        {
            weights[ModelPart.Spatial] = Own(folder, Spatial);
            weights[ModelPart.Temporal] = Own(folder, Temporal);
        }
        else
        {
            var whole = Whole(folder, ["unet/diffusion_pytorch_model"], name => name);
            bool video = unet.ClassName == UNet3D;
            weights[ModelPart.Spatial] = video ? whole with { Includes = name => !IsTemporal(name) } : whole;
            if (video)
            {
                weights[ModelPart.Temporal] = whole with { Includes = IsTemporal };
                using var file = whole.Open();
                unet = unet with { Layout = VideoUNet.LayoutOf(file.Entries.Keys) };
            }
        }
        return new ModelSource(folder, textConfig, vae.As<AutoencoderKlConfig>(), unet, Schedule(folder, index),
            () => ClipTokenizer.FromFolder(tokenizer ?? Path.Combine(folder, "tokenizer"), textConfig.MaxPositionEmbeddings), weights) { FrameCount = frames };
    }

    /// <summary>A folder that holds a temporal half alone, and the model it was trained around.</summary>
    private static ModelSource Around(string other, string folder, ComponentConfig index, string? tokenizer)
    {
        string path = Path.GetFullPath(other, Path.GetFullPath(folder));
        if (!Path.Exists(path))
            throw index.Wrong(BaseModel, $"'{path}' does not exist");
        var start = Directory.Exists(path) ? Open(path, tokenizer, mayRefer: false) : LdmCheckpoint.Open(path, tokenizer);
        var (unet, frames) = UNet(folder, ClassOf(index, "unet", OwnUNet));
        return start with
        {
            Path = folder,
            UNet = unet,
            FrameCount = frames,
            Weights = new Dictionary<ModelPart, WeightSource>(start.Weights) { [ModelPart.Temporal] = Own(folder, Temporal) },
        };
    }

    private static string ClassOf(ComponentConfig index, string component, params string[] known)
        => ClassOf(index, component, known.Contains, string.Join(", ", known));

    private static string ClassOf(ComponentConfig index, string component, Func<string, bool> isKnown, string known)
        => index.Json[component] is JsonArray { Count: 2 } pair && pair[1] is JsonValue value && value.TryGetValue(out string? name) && isKnown(name)
            ? name : throw index.Wrong(component, $"expected a library and a class of {known}");

    private static (UNetConfig Config, int? Frames) UNet(string folder, string name)
    {
        var config = ComponentConfig.Read(folder, "unet/config.json").OfClass(name);
        if (name == OwnUNet)
        {
            config.Supporting($$"""{"{{SpatialClass}}": ["{{UNet2D}}", "{{UNet3D}}"]}""");
            config.Json["_class_name"] = name = config.Json[SpatialClass]?.ToString() ?? UNet2D;
        }
        config.WithDefaults(name == UNet2D ? """{"cross_attention_dim": 1280, "attention_head_dim": 8}""" : """{"cross_attention_dim": 1024, "attention_head_dim": 64}""");
        foreach (string key in new[] { "sample_size", "num_frames" })
            if (config.Json[key] is not null)
                config.Whole(LargestWidth, key);
        int? frames = config.Json["num_frames"]?.GetValue<int>();
        var unet = config.As<UNetConfig>(unet => unet.Validate());
        return (config.Json.ContainsKey(SpatialClass) ? unet : unet with { TemporalWidthDivisor = 1, JoinedLevels = 0, TemporalText = false, FramePositions = false }, frames);
    }

    private static NoiseScheduleConfig Schedule(string folder, ComponentConfig index)
    {
        string name = ClassOf(index, "scheduler", name => name.EndsWith("Scheduler", StringComparison.Ordinal), "noise schedulers, ...Scheduler");
        var config = ComponentConfig.Read(folder, "scheduler/scheduler_config.json").WithDefaults(ScheduleDefaults).Supporting(ScheduleSupported)
            .WithDefaults(name is "DDIMScheduler" or "DDPMScheduler" ? """{"clip_sample": true}""" : "{}")
            .Whole(1 << 16, "num_train_timesteps");
        if (config.Json["lambda_min_clipped"] is null)
            config.Json.Remove("lambda_min_clipped");                                     // -Infinity, which is what a file without it means
        var schedule = config.As<NoiseScheduleConfig>() with { ClassName = name };
        try
        {
            _ = new NoiseSchedule(schedule);
            return schedule;
        }
        catch (NotSupportedException e)
        {
            throw new InvalidDataException($"scheduler/scheduler_config.json cannot be used: {e.Message}", e);
        }
    }

    /// <summary>Names of the 3D U-Net that the 2D one does not have.</summary>
    private static bool IsTemporal(string name) => name.Contains("temp_", StringComparison.Ordinal) || name.StartsWith("transformer_in.", StringComparison.Ordinal);

    private static WeightSource Own(string folder, string name)
    {
        string path = Path.Combine(folder, name);
        return File.Exists(path) ? Source(path, name, own => own)
            : throw new FileNotFoundException($"{name} is missing in the model folder '{folder}'.", path);
    }

    /// <summary>The file of a component: the full one before the half-precision variant, safetensors before PyTorch's own, one file before shards.</summary>
    private static WeightSource Whole(string folder, string[] stems, Func<string, string?> rename)
    {
        foreach (string variant in new[] { "", ".fp16" })
            foreach (string kind in new[] { "safetensors", "bin" })
                foreach (string stem in stems)
                    foreach (string name in new[]
                    {
                        $"{stem}{variant}.{kind}", $"{stem}.{kind}.index{variant}.json", $"{stem}{variant}.{kind}.index.json",
                    })
                        if (Path.Combine(folder, name) is var path && File.Exists(path))
                            return Source(path, name, rename);
        throw new FileNotFoundException(
            $"{stems[0]}.safetensors is missing in the model folder '{folder}', and so are its .fp16 variant, its .bin form and its shards.", Path.Combine(folder, stems[0]));
    }

    private static WeightSource Source(string path, string name, Func<string, string?> rename) => new(name, () => WeightFile.Open(path), _ => true, rename);
}
