using System.Security.Cryptography;
using System.Text;
using Microsoft.ML.Mobius.Torch;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>Tensors of the CPU on the disk, a file for each key, which is a hash of all that they depend on.</summary>
/// <remarks>
/// A file appears once it is whole and on the disk, and is read only if its name, its structure and the hash of its contents are right. Several processes
/// may use one folder at a time. Nothing is ever removed but what writers that were killed left behind.
/// </remarks>
internal sealed class TensorCache
{
    private const string Key = "key", Note = "note", Sum = "sum";
    private static readonly TimeSpan s_longestWrite = TimeSpan.FromHours(1);

    private readonly string _folder, _contents;

    /// <param name="folder">Made if it is missing.</param>
    /// <param name="contents">What they are, as "latents", for messages.</param>
    /// <exception cref="IOException">The folder cannot be used.</exception>
    public TensorCache(string folder, string contents)
    {
        (_folder, _contents) = (Path.GetFullPath(folder), contents);
        try
        {
            Directory.CreateDirectory(_folder);
            foreach (var leftover in new DirectoryInfo(_folder).EnumerateFiles(".*.tmp").Where(file => DateTime.UtcNow - file.LastWriteTimeUtc > s_longestWrite))
                leftover.Delete();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"The folder of cached {contents} '{folder}' cannot be used: {e.Message}", e);
        }
    }

    /// <summary>A key.</summary>
    /// <param name="depends">All that the tensors depend on, in words.</param>
    public static string KeyOf(string depends) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(depends)))[..32];

    /// <summary>The type of the numbers that a device computes tensors with.</summary>
    public static string NumbersOf(Device device) => Tf32.Rounds(device.type) ? nameof(Tf32) : $"{ScalarType.Float32}";

    /// <summary>The tensors of a key, which then belong to the caller; null if there are none that can be used.</summary>
    /// <param name="key">Of <see cref="KeyOf"/>.</param>
    /// <param name="note">What was noted with them.</param>
    /// <param name="damage">What is wrong with those that are there; null if nothing.</param>
    public IReadOnlyList<Tensor>? Find(string key, out string note, out string? damage)
    {
        (note, damage) = ("", null);
        string path = PathOf(key);
        if (!File.Exists(path))
            return null;
        try
        {
            using var file = SafetensorsFile.OpenFile(path);
            return Read(file, key, note = Said(file, Note));
        }
        catch (Exception e) when (e is IOException or InvalidDataException or UnauthorizedAccessException)
        {
            damage = $"The cached {_contents} '{path}' are damaged and are made anew: {e.Message}";
            return null;
        }
    }

    /// <summary>Keeps the tensors of a key, in place of what may be there.</summary>
    /// <exception cref="IOException">They cannot be written; what was there stays.</exception>
    public void Keep(string key, IReadOnlyList<Tensor> tensors, string note) => Safetensors.Write(PathOf(key),
        tensors.Select((tensor, i) => KeyValuePair.Create($"{i}", tensor)),
        metadata: new Dictionary<string, string> { [Key] = key, [Note] = note, [Sum] = SumOf(tensors, note) });

    private string PathOf(string key) => Path.Combine(_folder, $"{key}.safetensors");

    private static string Said(SafetensorsFile file, string name)
        => file.Metadata.GetValueOrDefault(name) ?? throw new InvalidDataException($"{file.Name} has no {name}.");

    private Tensor[] Read(SafetensorsFile file, string key, string note)
    {
        if (Said(file, Key) != key)
            throw new InvalidDataException($"{file.Name} has the {_contents} of {Said(file, Key)}.");
        var tensors = new List<Tensor>();
        try
        {
            for (int i = 0; i < file.Entries.Count; i++)
                tensors.Add(file.Read($"{i}"));
            return SumOf(tensors, note) == Said(file, Sum) ? [.. tensors]
                : throw new InvalidDataException($"the numbers of {file.Name} are not those that were written.");
        }
        catch
        {
            tensors.ForEach(tensor => tensor.Dispose());
            throw;
        }
    }

    private static string SumOf(IEnumerable<Tensor> tensors, string note)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var part in tensors)
        {
            using var scope = NewDisposeScope();
            hash.AppendData(Encoding.UTF8.GetBytes($"{string.Join(' ', part.shape)} {part.dtype} "));
            hash.AppendData(part.contiguous().bytes);
        }
        hash.AppendData(Encoding.UTF8.GetBytes(note));
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
