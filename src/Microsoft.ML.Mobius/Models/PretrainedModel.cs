using System.Reflection;
using System.Text.Json;
using Microsoft.ML.Mobius.Autoencoder;
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

    /// <summary>The U-Net whose temporal half it brings; null of an image model.</summary>
    public UNetConfig? Video { get; init; }

    /// <summary>The one that the assembly carries.</summary>
    /// <exception cref="InvalidDataException">This build of the assembly carries none.</exception>
    public static PretrainedModel Embedded()
    {
        using var config = Assembly.GetExecutingAssembly().GetManifestResourceStream("Base/vae/config.json")
            ?? throw new InvalidDataException("This build carries no base model: Base/vae/config.json is missing.");
        return new PretrainedModel(JsonSerializer.Deserialize<AutoencoderKlConfig>(config)!.Factor, TextToImageModel.Embedded);
    }

    /// <summary>One on disk; see <see cref="ModelSource.Open"/>.</summary>
    public static PretrainedModel From(string path, string? tokenizer)
    {
        var source = ModelSource.Open(path, tokenizer);
        int factor = source.Autoencoder.Factor;
        return new PretrainedModel(factor, () => TextToImageModel.Open(source))
        {
            Side = (source.UNet.SampleSize ?? 64) * factor, FrameCount = source.FrameCount ?? 8, Video = source.HasTemporal ? source.UNet : null,
        };
    }
}
