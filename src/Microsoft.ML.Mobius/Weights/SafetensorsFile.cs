using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Weights;

/// <summary>A safetensors file on disk, its header read and checked, its data mapped.</summary>
internal sealed class SafetensorsFile : WeightFile
{
    private readonly MappedFile _file;
    private readonly long _data;
    private readonly OrderedDictionary<string, WeightEntry> _entries;

    private SafetensorsFile(MappedFile file, SafetensorsHeader header)
        : base(file.Name)
    {
        _file = file;
        _data = file.Length - header.DataLength;
        _entries = new(header.Entries.Select(entry => KeyValuePair.Create(entry.Name, (WeightEntry)entry)));
        Metadata = header.Metadata;
    }

    public override IReadOnlyDictionary<string, WeightEntry> Entries => _entries;

    public override IReadOnlyDictionary<string, string> Metadata { get; }

    /// <exception cref="InvalidDataException">The file is not a whole and correct safetensors file.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static SafetensorsFile OpenFile(string path)
    {
        using var stream = File.OpenRead(path);
        var header = SafetensorsHeader.Read(stream, Path.GetFileName(path));
        if (stream.Length - stream.Position > header.DataLength)
            throw SafetensorsHeader.GoesOn(Path.GetFileName(path));
        return new SafetensorsFile(new MappedFile(path), header);
    }

    public override void CopyTo(string name, Tensor target)
    {
        var entry = (SafetensorsEntry)Entry(name);
        _file.Fill(target, entry.Type, _data + entry.Begin);
    }

    public override void Dispose() => _file.Dispose();
}
