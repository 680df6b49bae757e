using System.Reflection;
using System.Text.Json;
using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.Diffusion;
using Microsoft.ML.Mobius.Text;
using Microsoft.ML.Mobius.UNet;

namespace Microsoft.ML.Mobius.Models;

/// <summary>The model that training starts from: what must be known of it beforehand, and the way to it.</summary>
/// <param name="Factor">Pixels per latent along each side.</param>
/// <param name="Open">Reads the model, a new one each time.</param>
internal sealed record PretrainedModel(int Factor, Func<TextToImageModel> Open)
{
    /// <summary>Pixels of each side that it was trained with.</summary>
    public int Side { get; init; } = 64;

    /// <summary>Frames per clip that it was trained with; for an image model, the usual number.</summary>
    public int FrameCount { get; init; } = 8;

    /// <summary>Finds out what its parts are made of; unless a cheaper way is given, by opening it.</summary>
    public Func<ModelArchitecture> Architecture { get; init; } = () => ModelArchitecture.Of(Open());

    /// <summary>Its noise schedule.</summary>
    public NoiseScheduleConfig Schedule { get; init; } = new();

    /// <summary>The U-Net whose temporal half it brings; null of an image model.</summary>
    public UNetConfig? Video { get; init; }

    /// <summary>The one that the assembly carries.</summary>
    /// <exception cref="InvalidDataException">This build of the assembly carries none.</exception>
    public static PretrainedModel Embedded()
    {
        static string Config(string part, string name = "config")
        {
            using var stream = Assembly.GetExecutingAssembly().GetManifestResourceStream($"Base/{part}/{name}.json")
                ?? throw new InvalidDataException($"This build carries no base model: Base/{part}/{name}.json is missing.");
            using var reader = new StreamReader(stream);
            return reader.ReadToEnd();
        }

        var autoencoder = JsonSerializer.Deserialize<AutoencoderKlConfig>(Config("vae"))!;
        return new PretrainedModel(autoencoder.Factor, TextToImageModel.Embedded)
        {
            Schedule = JsonSerializer.Deserialize<NoiseScheduleConfig>(Config("scheduler", "scheduler_config"))!,
            Architecture = () => new ModelArchitecture(
                ClipTextConfig.Parse(Config("text_encoder")), autoencoder, JsonSerializer.Deserialize<UNetConfig>(Config("unet"))!),
        };
    }

    /// <summary>One on disk; see <see cref="ModelSource.Open"/>.</summary>
    public static PretrainedModel From(string path, string? tokenizer)
    {
        var source = ModelSource.Open(path, tokenizer);
        int factor = source.Autoencoder.Factor;
        return new PretrainedModel(factor, () => TextToImageModel.Open(source))
        {
            Architecture = () => new ModelArchitecture(source.TextEncoder, source.Autoencoder, source.UNet),
            Side = (source.UNet.SampleSize ?? 64) * factor, FrameCount = source.FrameCount ?? 8, Schedule = source.Schedule,
            Video = source.HasTemporal ? source.UNet : null,
        };
    }
}

/// <summary>What the parts of an image model are made of.</summary>
internal sealed record ModelArchitecture(ClipTextConfig TextEncoder, AutoencoderKlConfig Autoencoder, UNetConfig UNet)
{
    /// <summary>That of a model, which is disposed.</summary>
    public static ModelArchitecture Of(TextToImageModel model)
    {
        using (model.TextEncoder)
        using (model.Autoencoder)
        using (model.UNet)
            return new ModelArchitecture(model.TextEncoder.Config, model.Autoencoder.Config(), model.UNetConfig);
    }
}
