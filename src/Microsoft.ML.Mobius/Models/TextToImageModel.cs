using System.Reflection;
using System.Text;
using System.Text.Json;
using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.Diffusion;
using Microsoft.ML.Mobius.Text;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Models;

/// <summary>
/// A latent-diffusion text-to-image model: tokenizer, text encoder, autoencoder, U-Net and noise schedule, in the files and names of a diffusers folder.
/// </summary>
internal sealed record TextToImageModel(
    ClipTokenizer Tokenizer, ClipTextModel TextEncoder, AutoencoderKl Autoencoder, SpatialStream UNet, UNetConfig UNetConfig, NoiseSchedule Schedule)
{
    /// <summary>The small base model that the assembly carries (64x64 pixels; trained by build/base-model.sh).</summary>
    public static TextToImageModel Embedded() => Load(name => Assembly.GetExecutingAssembly().GetManifestResourceStream("Base/" + name)
        ?? throw new InvalidDataException($"The embedded base model lacks {name}."));

    /// <summary>Reads a model.</summary>
    /// <param name="open">Opens a file of the folder by its relative name, such as unet/config.json.</param>
    public static TextToImageModel Load(Func<string, Stream> open)
    {
        T Config<T>(string name)
        {
            using var stream = open(name);
            return JsonSerializer.Deserialize<T>(stream) ?? throw new InvalidDataException($"{name} is empty.");
        }

        ClipTextConfig TextConfig(string name)
        {
            using var reader = new StreamReader(open(name));
            return ClipTextConfig.Parse(reader.ReadToEnd(), name);
        }

        T Weights<T>(string name, T module) where T : nn.Module
        {
            using var stream = open(name);
            var weights = Safetensors.Read(stream, ScalarType.Float32);
            StateDict.Load(module, weights, name);
            foreach (var weight in weights.Values)
                weight.Dispose();
            module.eval();
            foreach (var parameter in module.parameters())
                parameter.requires_grad = false;
            return module;
        }

        using var vocabulary = open("tokenizer/vocab.json");
        using var merges = open("tokenizer/merges.txt");
        var text = TextConfig("text_encoder/config.json");
        var unet = Config<UNetConfig>("unet/config.json");
        return new TextToImageModel(
            ClipTokenizer.Create(vocabulary, merges, maxLength: text.MaxPositionEmbeddings),
            Weights("text_encoder/model.safetensors", new ClipTextModel(text)),
            Weights("vae/diffusion_pytorch_model.safetensors", new AutoencoderKl(Config<AutoencoderKlConfig>("vae/config.json"))),
            Weights("unet/diffusion_pytorch_model.safetensors", new SpatialStream(unet)),
            unet,
            new NoiseSchedule(Config<NoiseScheduleConfig>("scheduler/scheduler_config.json")));
    }

    /// <summary>Writes the model, floating weights as float16.</summary>
    /// <param name="write">Writes a file of the folder by its relative name.</param>
    public void Save(Action<string, Action<Stream>> write)
    {
        var indented = new JsonSerializerOptions { WriteIndented = true };
        write("tokenizer/vocab.json", stream => Tokenizer.Save(stream, Stream.Null));
        write("tokenizer/merges.txt", stream => Tokenizer.Save(Stream.Null, stream));
        write("text_encoder/config.json", stream => stream.Write(Encoding.UTF8.GetBytes(TextEncoder.Config.ToJson())));
        write("text_encoder/model.safetensors", stream => Safetensors.Write(stream, StateDict.Of(TextEncoder), ScalarType.Float16));
        write("vae/config.json", stream => JsonSerializer.Serialize(stream, Autoencoder.Config(), indented));
        write("vae/diffusion_pytorch_model.safetensors", stream => Safetensors.Write(stream, StateDict.Of(Autoencoder), ScalarType.Float16));
        write("unet/config.json", stream => JsonSerializer.Serialize(stream, UNetConfig, indented));
        write("unet/diffusion_pytorch_model.safetensors", stream => Safetensors.Write(stream, StateDict.Of(UNet), ScalarType.Float16));
        write("scheduler/scheduler_config.json", stream => JsonSerializer.Serialize(stream, Schedule.Config, indented));
    }
}
