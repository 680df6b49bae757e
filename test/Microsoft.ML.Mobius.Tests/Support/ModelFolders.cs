using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests;

/// <summary>A folder of its own for a test, with tiny model folders in it.</summary>
internal sealed class ModelFolders : IDisposable
{
    /// <summary>The index of an image model.</summary>
    public const string StableDiffusion = """
        {
          "_class_name": "StableDiffusionPipeline", "safety_checker": [null, null], "requires_safety_checker": false,
          "scheduler": ["diffusers", "PNDMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
          "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]
        }
        """;

    private readonly string _root = Directory.CreateTempSubdirectory("mobius-models-").FullName;

    public string PathOf(params string[] parts) => Path.Combine([_root, .. parts]);

    public void Dispose() => Directory.Delete(_root, recursive: true);

    /// <summary>A StableDiffusionPipeline of random weights, in float16.</summary>
    public string Image(string name = "image")
    {
        string folder = PathOf(name);
        var image = Tiny.Image();
        image.Save((file, write) =>
        {
            string path = Path.Combine(folder, file);
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            using var stream = File.Create(path);
            write(stream);
        });
        File.WriteAllText(Path.Combine(folder, "model_index.json"), StableDiffusion);
        Change(folder, "scheduler/scheduler_config.json", json => json["_class_name"] = "PNDMScheduler");
        Free(image);
        return folder;
    }

    /// <summary>A TextToVideoSDPipeline of random weights, the temporal ones, too.</summary>
    public string Video(string name = "video")
    {
        using var model = RandomVideo(UNetLayout.Serial);
        Assert.IsNull(ModelFolder.Save(model, PathOf(name), frames: 3, side: 16, around: null));
        return PathOf(name);
    }

    /// <summary>A video model of a 3D U-Net's heads, random all over.</summary>
    public static TextToVideoModel RandomVideo(UNetLayout layout, Func<UNetConfig, UNetConfig>? change = null, long seed = 7)
    {
        var image = Tiny.Image();
        var config = Tiny.UNet with { ClassName = "UNet3DConditionModel", AttentionHeadDim = 4, Layout = layout };
        config = change?.Invoke(config) ?? config;
        image.UNet.Dispose();
        random.manual_seed(seed);
        return Random(TextToVideoModel.From(image with { UNet = Tiny.Spatial(config), UNetConfig = config }, config, seed));
    }

    /// <summary>Gives every temporal weight a value that no start has.</summary>
    public static TextToVideoModel Random(TextToVideoModel model)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        foreach (var parameter in model.UNet.Temporal.parameters())
            parameter.add_(randn_like(parameter) * 0.05);
        return model;
    }

    /// <summary>Opens a model as the trainer does.</summary>
    public static TextToVideoModel Open(string path, Action<TextToVideoTrainer.Options>? change = null, string? tokenizer = null)
    {
        var start = PretrainedModel.From(path, tokenizer);
        var options = new TextToVideoTrainer.Options();
        change?.Invoke(options);
        var image = start.Open();
        return TextToVideoModel.From(image, options.For(start).Architecture(image.UNetConfig), seed: 1);
    }

    /// <summary>Edits a JSON file of a folder.</summary>
    public static void Change(string folder, string file, Action<JsonObject> change)
    {
        string path = Path.Combine(folder, file);
        var json = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
        change(json);
        File.WriteAllText(path, json.ToJsonString());
    }

    public static void Copy(string from, string to)
    {
        foreach (string file in Directory.EnumerateFiles(from, "*", SearchOption.AllDirectories))
        {
            string target = Path.Combine(to, Path.GetRelativePath(from, file));
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.WriteAllBytes(target, File.ReadAllBytes(file));
        }
    }

    public static void Free(TextToImageModel image)
    {
        image.TextEncoder.Dispose();
        image.Autoencoder.Dispose();
        image.UNet.Dispose();
    }

    public static void AssertSame(TextToVideoModel expected, TextToVideoModel actual) => Assert.IsTrue(AreSame(expected, actual), "The weights or tokens differ.");

    /// <summary>Whether all weights and tokens are.</summary>
    public static bool AreSame(TextToVideoModel a, TextToVideoModel b) => AreSame(a.TextEncoder, b.TextEncoder) && AreSame(a.Autoencoder, b.Autoencoder)
        && AreSame(a.UNet, b.UNet) && a.Tokenizer.Encode("a red box!").Ids.SequenceEqual(b.Tokenizer.Encode("a red box!").Ids);

    public static void AssertSame(nn.Module expected, nn.Module actual) => Assert.IsTrue(AreSame(expected, actual), "The weights differ.");

    /// <summary>Projections may be linear layers in one and 1x1 convolutions in the other.</summary>
    private static bool AreSame(nn.Module a, nn.Module b)
    {
        using var scope = NewDisposeScope();
        var (left, right) = (StateDict.Of(a).ToDictionary(), StateDict.Of(b).ToDictionary());
        return left.Keys.ToHashSet().SetEquals(right.Keys) && left.All(pair => pair.Value.flatten().Equals(right[pair.Key].flatten()));
    }
}
