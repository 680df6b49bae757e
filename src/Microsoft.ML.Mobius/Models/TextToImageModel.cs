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
    /// <summary>Where it was read from; its temporal half, if it has one, is still to be read. Null for a model of no folder.</summary>
    public ModelSource? Source { get; init; }

    /// <summary>What was read, part by part.</summary>
    public IReadOnlyList<LoadedPart> Loaded { get; init; } = [];

    /// <summary>Reads the image half of a model, one tensor at a time, into float32.</summary>
    /// <exception cref="IOException">A file cannot be read.</exception>
    /// <exception cref="InvalidDataException">A file is damaged.</exception>
    /// <exception cref="WeightMismatchException">Weights are not those that the config describes.</exception>
    public static TextToImageModel Open(ModelSource source)
    {
        var tokenizer = source.Tokenizer();
        if (tokenizer.VocabularySize > source.TextEncoder.VocabSize)
            throw new InvalidDataException($"The tokenizer of '{source.Path}' has ids up to {tokenizer.VocabularySize - 1}, but the text encoder's vocab_size is "
                + $"{source.TextEncoder.VocabSize}: they are not of one model.");
        Landmarks.Check(source);
        var modules = new List<nn.Module>();
        var loaded = new List<LoadedPart>();
        T Part<T>(ModelPart part, string name, Func<T> make) where T : nn.Module
        {
            T module;
            try
            {
                modules.Add(module = make());
            }
            catch (ArgumentException e)
            {
                throw new InvalidDataException($"The config of {name} in '{source.Path}' cannot be used: {e.Message}", e);
            }
            using var weights = source.Weights[part].For(module);
            StateDict.Load(module, weights);
            loaded.Add(new LoadedPart(name, TensorCount.Of(weights.Entries.Values.Select(entry => entry.Shape)),
                LeftOut: TensorCount.Of(weights.LeftOut.Select(entry => entry.Shape))));
            return Frozen(module);
        }

        try
        {
            var textEncoder = Part(ModelPart.TextEncoder, "text_encoder", () => new ClipTextModel(source.TextEncoder));
            var autoencoder = Part(ModelPart.Autoencoder, "vae", () => new AutoencoderKl(source.Autoencoder));
            var unet = Part(ModelPart.Spatial, "unet.spatial", () => new SpatialStream(source.UNet));
            if (source.Unused.Tensors > 0)
                loaded.Add(new LoadedPart("other", default, LeftOut: source.Unused));
            return new TextToImageModel(tokenizer, textEncoder, autoencoder, unet, source.UNet, new NoiseSchedule(source.Schedule)) { Source = source, Loaded = loaded };
        }
        catch
        {
            foreach (var module in modules)
                module.Dispose();
            throw;
        }
    }

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
            return Frozen(module);
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

    private static T Frozen<T>(T module) where T : nn.Module
    {
        module.eval();
        foreach (var parameter in module.parameters())
            parameter.requires_grad = false;
        return module;
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
