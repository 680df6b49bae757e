using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.Diffusion;
using Microsoft.ML.Mobius.Text;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Models;

/// <summary>The parts of a model that have weights.</summary>
internal enum ModelPart
{
    TextEncoder,
    Autoencoder,
    Spatial,
    Temporal,
}

/// <summary>Where the weights of a part are stored, and under which names.</summary>
/// <param name="Name">The file, as relative to the model, for messages.</param>
/// <param name="Open">Opens the file.</param>
/// <param name="Includes">Whether a stored tensor belongs to the part.</param>
/// <param name="Rename">Maps its name to the part's; null for what is left out knowingly.</param>
internal sealed record WeightSource(string Name, Func<WeightFile> Open, Func<string, bool> Includes, Func<string, string?> Rename)
{
    /// <summary>The weights as <paramref name="module"/> takes them; to be disposed.</summary>
    public WeightView For(nn.Module module) => new(Open(), Name, module, Includes, Rename);
}

/// <summary>A pretrained model on disk: its configs, read, and its weights, to be read part by part.</summary>
/// <param name="Path">The folder or file.</param>
/// <param name="TextEncoder">Of the text encoder.</param>
/// <param name="Autoencoder">Of the autoencoder.</param>
/// <param name="UNet">Of the U-Net; what it says of the temporal half counts only if there is one.</param>
/// <param name="Schedule">The noise schedule.</param>
/// <param name="Tokenizer">Reads the tokenizer.</param>
/// <param name="Weights">Of each part; without <see cref="ModelPart.Temporal"/> it is an image model.</param>
internal sealed record ModelSource(
    string Path, ClipTextConfig TextEncoder, AutoencoderKlConfig Autoencoder, UNetConfig UNet, NoiseScheduleConfig Schedule,
    Func<ClipTokenizer> Tokenizer, IReadOnlyDictionary<ModelPart, WeightSource> Weights)
{
    public bool HasTemporal => Weights.ContainsKey(ModelPart.Temporal);

    /// <summary>Frames per clip that it was trained with, where that is known.</summary>
    public int? FrameCount { get; init; }

    /// <summary>Stored tensors that belong to no part.</summary>
    public TensorCount Unused { get; init; }

    /// <summary>Finds out what there is: reads configs and the headers of weight files, no weights.</summary>
    /// <param name="path">A folder in diffusers' layout, or one file with a Stable Diffusion 1.x in the names of CompVis' ldm.</param>
    /// <param name="tokenizer">A folder with vocab.json and merges.txt; null: the model's own, or the folder tokenizer beside the file.</param>
    /// <exception cref="IOException">The folder or a file of it is not there.</exception>
    /// <exception cref="InvalidDataException">A file is damaged, or of a model of another kind; the message names the file.</exception>
    public static ModelSource Open(string path, string? tokenizer = null)
    {
        if (Directory.Exists(path))
            return ModelFolder.Open(path, tokenizer);
        return File.Exists(path) ? LdmCheckpoint.Open(path, tokenizer)
            : throw new DirectoryNotFoundException($"The model '{path}' does not exist; expected a model folder or a checkpoint file.");
    }
}
