using System.Text.Json;
using Microsoft.ML.Mobius.Models;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>
/// Latents on the disk: the clips of each row by the row's file or pixels, how it is read, the autoencoder's weights, the kind of device and the type of the
/// numbers.
/// </summary>
internal sealed class LatentCache
{
    private const string Format = "2";

    private readonly TensorCache _files;
    private readonly string _common;

    /// <param name="folder">Made if it is missing.</param>
    /// <param name="model">What encodes.</param>
    /// <param name="reading">How files are read, in words: other words, other latents.</param>
    /// <exception cref="IOException">The folder cannot be used.</exception>
    public LatentCache(string folder, TextToVideoModel model, string reading)
    {
        _files = new TensorCache(folder, "latents");
        _common = $"{Format} {model.Device.type} {TensorCache.NumbersOf(model.Device)} {RunIdentity.Hash(model.Autoencoder)} "
            + $"{JsonSerializer.Serialize(model.Autoencoder.Config())} {reading}";
    }

    /// <summary>The name of a row's latents.</summary>
    /// <param name="content">A hash of its file or its pixels.</param>
    public string KeyOf(string content) => TensorCache.KeyOf($"{content} {_common}");

    /// <summary>The latents of a key, which then belong to the caller; null if there are none that can be used.</summary>
    /// <param name="key">Of <see cref="KeyOf"/>.</param>
    /// <param name="damage">What is wrong with those that are there; null if nothing.</param>
    public IReadOnlyList<ClipLatents>? Find(string key, out string? damage) => _files.Find(key, out string pixels, out damage) is { } found
        ? [.. pixels.Split(' ').Select((hash, i) => new ClipLatents(found[2 * i], found[2 * i + 1], hash))] : null;

    /// <summary>Keeps the latents of a key, in place of what may be there.</summary>
    /// <exception cref="IOException">They cannot be written; what was there stays.</exception>
    public void Keep(string key, IReadOnlyList<ClipLatents> clips)
        => _files.Keep(key, [.. clips.SelectMany(clip => new[] { clip.Mean, clip.Deviation })], string.Join(' ', clips.Select(clip => clip.Pixels)));
}
