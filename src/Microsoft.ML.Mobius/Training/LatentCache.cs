using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>
/// Latents on the disk: a file with the clips of each row, named by a hash of all that they depend on: the row's file or pixels, how it is read, the
/// autoencoder's weights, the kind of device and the type of the numbers.
/// </summary>
/// <remarks>
/// A file appears once it is whole and on the disk, and is read only if its name, its structure and the hash of its contents are right. Several processes
/// may use one folder at a time. Nothing is ever removed but what writers that were killed left behind.
/// </remarks>
internal sealed class LatentCache
{
    private const string Format = "1";
    private const string Key = "key", Pixels = "pixels", Sum = "sum";
    private static readonly TimeSpan s_longestWrite = TimeSpan.FromHours(1);

    private readonly string _folder, _common;
    private readonly Device _device;

    /// <param name="folder">Made if it is missing.</param>
    /// <param name="model">What encodes.</param>
    /// <param name="reading">How files are read, in words: other words, other latents.</param>
    /// <exception cref="IOException">The folder cannot be used.</exception>
    public LatentCache(string folder, TextToVideoModel model, string reading)
    {
        (_folder, _device) = (Path.GetFullPath(folder), model.Device);
        _common = $"{Format} {model.Device.type} {ScalarType.Float32} {RunIdentity.Hash(model.Autoencoder)} "
            + $"{JsonSerializer.Serialize(model.Autoencoder.Config())} {reading}";
        try
        {
            Directory.CreateDirectory(_folder);
            foreach (var leftover in new DirectoryInfo(_folder).EnumerateFiles(".*.tmp").Where(file => DateTime.UtcNow - file.LastWriteTimeUtc > s_longestWrite))
                leftover.Delete();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"The folder of cached latents '{folder}' cannot be used: {e.Message}", e);
        }
    }

    /// <summary>The name of a row's latents.</summary>
    /// <param name="content">A hash of its file or its pixels.</param>
    public string KeyOf(string content) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes($"{content} {_common}")))[..32];

    /// <summary>The latents of a key, which then belong to the caller; null if there are none that can be used.</summary>
    /// <param name="key">Of <see cref="KeyOf"/>.</param>
    /// <param name="damage">What is wrong with those that are there; null if nothing.</param>
    public IReadOnlyList<ClipLatents>? Find(string key, out string? damage)
    {
        damage = null;
        string path = PathOf(key);
        if (!File.Exists(path))
            return null;
        try
        {
            using var file = SafetensorsFile.OpenFile(path);
            return Read(file, key);
        }
        catch (Exception e) when (e is IOException or InvalidDataException or UnauthorizedAccessException)
        {
            damage = $"The cached latents '{path}' are damaged and are made anew: {e.Message}";
            return null;
        }
    }

    /// <summary>Keeps the latents of a key, in place of what may be there.</summary>
    /// <exception cref="IOException">They cannot be written; what was there stays.</exception>
    public void Keep(string key, IReadOnlyList<ClipLatents> clips)
    {
        var tensors = clips.SelectMany((clip, i) => new[]
        {
            KeyValuePair.Create($"{i}.mean", clip.Mean), KeyValuePair.Create($"{i}.deviation", clip.Deviation),
        });
        var metadata = new Dictionary<string, string>
        {
            [Key] = key, [Pixels] = string.Join(' ', clips.Select(clip => clip.Pixels)), [Sum] = SumOf(clips),
        };
        Safetensors.Write(PathOf(key), tensors, metadata: metadata);
    }

    private string PathOf(string key) => Path.Combine(_folder, $"{key}.safetensors");

    private ClipLatents[] Read(SafetensorsFile file, string key)
    {
        string Said(string name) => file.Metadata.GetValueOrDefault(name) ?? throw new InvalidDataException($"{file.Name} has no {name}.");
        if (Said(Key) != key)
            throw new InvalidDataException($"{file.Name} has the latents of {Said(Key)}.");
        string[] pixels = Said(Pixels).Split(' ');
        if (file.Entries.Count != 2 * pixels.Length)
            throw new InvalidDataException($"{file.Name} has {file.Entries.Count} tensors for {pixels.Length} clips.");
        var clips = new List<ClipLatents>();
        try
        {
            foreach (var (i, hash) in pixels.Index())
                clips.Add(new ClipLatents(OnDevice($"{i}.mean"), OnDevice($"{i}.deviation"), hash));
            return SumOf(clips) == Said(Sum) ? [.. clips] : throw new InvalidDataException($"the numbers of {file.Name} are not those that were written.");
        }
        catch
        {
            foreach (var clip in clips)
                clip.Dispose();
            throw;
        }

        Tensor OnDevice(string name)
        {
            var read = file.Read(name);
            if (_device.type == DeviceType.CPU)
                return read;
            using (read)
                return read.to(_device).DetachFromDisposeScope();
        }
    }

    private static string SumOf(IEnumerable<ClipLatents> clips)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var clip in clips)
        {
            foreach (var part in new[] { clip.Mean, clip.Deviation })
            {
                using var scope = NewDisposeScope();
                hash.AppendData(Encoding.UTF8.GetBytes($"{string.Join(' ', part.shape)} {part.dtype} "));
                hash.AppendData(part.cpu().contiguous().bytes);
            }
            hash.AppendData(Encoding.UTF8.GetBytes(clip.Pixels));
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
