using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Weights;

/// <summary>One tensor of a weight file: its name, type and shape.</summary>
internal record WeightEntry(string Name, ScalarType Type, long[] Shape);

/// <summary>Named tensors in one or more files on disk, read one at a time and on demand; opening reads their description only.</summary>
internal abstract class WeightFile : IDisposable
{
    /// <param name="name">The file's name, for messages.</param>
    protected WeightFile(string name) => Name = name;

    /// <summary>Opens a safetensors file, one of torch.save, or the index of several such files; the content tells them apart.</summary>
    /// <exception cref="InvalidDataException">The file is not whole and correct; the message says what is wrong with it.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static WeightFile Open(string path)
    {
        var first = First(path);
        return IsIndex(first) ? new ShardedFile(path)
            : first.StartsWith("PK"u8) ? TorchFile.OpenZip(path)
            : IsPickle(first) ? TorchFile.OpenLegacy(path)
            : SafetensorsFile.OpenFile(path);
    }

    /// <summary>The file's name without its folder, for messages.</summary>
    public string Name { get; }

    /// <summary>What is stored, in the file's order.</summary>
    public abstract IReadOnlyDictionary<string, WeightEntry> Entries { get; }

    /// <summary>The text pairs stored beside the tensors.</summary>
    public virtual IReadOnlyDictionary<string, string> Metadata { get; } = new Dictionary<string, string>();

    /// <summary>Reads one tensor into the CPU's memory.</summary>
    /// <param name="name">One of <see cref="Entries"/>.</param>
    /// <param name="floatsAs">The type into which a floating tensor is converted; null keeps the stored one.</param>
    /// <returns>A new contiguous tensor that belongs to no dispose scope but to the caller.</returns>
    /// <exception cref="InvalidDataException">The file has no such tensor, or was cut off meanwhile.</exception>
    public Tensor Read(string name, ScalarType? floatsAs = null)
    {
        var entry = Entry(name);
        var tensor = empty(entry.Shape, floatsAs is not null && is_floating_point(entry.Type) ? floatsAs.Value : entry.Type, CPU)
            .DetachFromDisposeScope();
        try
        {
            CopyTo(name, tensor);
            return tensor;
        }
        catch
        {
            tensor.Dispose();
            throw;
        }
    }

    /// <summary>Reads one tensor into another of as many elements, on any device and of any type, in chunks where it can be.</summary>
    /// <exception cref="InvalidDataException">The file has no such tensor, or was cut off meanwhile.</exception>
    public abstract void CopyTo(string name, Tensor target);

    /// <summary>Closes the file; tensors read from it stay.</summary>
    public abstract void Dispose();

    /// <summary>The description of a tensor.</summary>
    /// <exception cref="InvalidDataException">The file has no such tensor.</exception>
    protected WeightEntry Entry(string name) => Entries.TryGetValue(name, out var entry) ? entry
        : throw new InvalidDataException($"{Name} has no tensor '{name}'.");

    /// <summary>Whether the file is JSON, as an index is: the length that safetensors begins with has zeros, which no text has.</summary>
    protected static bool IsIndex(string path) => IsIndex(First(path));

    private static bool IsIndex(ReadOnlySpan<byte> first) => first.TrimStart(" \t\r\n"u8).StartsWith("{"u8) && !first.Contains((byte)0);

    /// <summary>Whether it begins with the protocol of a pickle; the length of a safetensors header would go on with zeros.</summary>
    private static bool IsPickle(ReadOnlySpan<byte> first) => first.Length == 8 && first[0] == 0x80 && first[1] is >= 2 and <= 5
        && first[4..].ContainsAnyExcept((byte)0);

    private static ReadOnlySpan<byte> First(string path)
    {
        using var stream = File.OpenRead(path);
        var first = new byte[8];
        return first.AsSpan(0, stream.ReadAtLeast(first, first.Length, throwOnEndOfStream: false));
    }
}
