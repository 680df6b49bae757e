using System.Reflection;
using System.Text.Json;
using Microsoft.ML.Mobius.Autoencoder;

namespace Microsoft.ML.Mobius.Models;

/// <summary>The image model that training starts from: what must be known of it beforehand, and the way to it.</summary>
/// <param name="Factor">Pixels per latent along each side.</param>
/// <param name="Open">Reads the model, a new one each time.</param>
internal sealed record BaseImageModel(int Factor, Func<TextToImageModel> Open)
{
    /// <summary>The one that the assembly carries.</summary>
    /// <exception cref="InvalidDataException">This build of the assembly carries none.</exception>
    public static BaseImageModel Embedded()
    {
        using var config = Assembly.GetExecutingAssembly().GetManifestResourceStream("Base/vae/config.json")
            ?? throw new InvalidDataException("This build carries no base model: Base/vae/config.json is missing.");
        return new BaseImageModel(JsonSerializer.Deserialize<AutoencoderKlConfig>(config)!.Factor, TextToImageModel.Embedded);
    }
}
