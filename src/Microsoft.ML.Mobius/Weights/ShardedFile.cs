using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.RegularExpressions;
using System.Text.Unicode;
using Microsoft.ML.Mobius.Files;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Weights;

/// <summary>Weights in several files of one folder, and the index that says where each tensor is: <c>{"weight_map":{name:file}}</c>.</summary>
internal sealed class ShardedFile : WeightFile
{
    private readonly Dictionary<string, WeightFile> _shards = [];
    private readonly OrderedDictionary<string, string> _map;
    private readonly OrderedDictionary<string, WeightEntry> _entries = [];

    /// <exception cref="InvalidDataException">The index or a shard is not correct, or they do not agree.</exception>
    /// <exception cref="IOException">A file cannot be read.</exception>
    public ShardedFile(string path)
        : base(Path.GetFileName(path))
    {
        _map = Map(File.ReadAllBytes(path), Name);
        try
        {
            foreach (string shard in _map.Values.Distinct())
                _shards.Add(shard, OpenShard(path, shard));
            foreach (var (name, shard) in _map)
            {
                _entries.Add(name, _shards[shard].Entries.TryGetValue(name, out var entry) ? entry
                    : throw new InvalidDataException($"{Name} says that '{name}' is in {shard}, and it is not."));
            }
            foreach (var (shard, file) in _shards)
                if (file.Entries.Keys.FirstOrDefault(name => !_map.TryGetValue(name, out string? said) || said != shard) is { } stray)
                    throw new InvalidDataException($"{shard} holds '{stray}', which {Name} does not say of it.");
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>
    /// Writes one safetensors file, or, where its tensors take more than <paramref name="shardBytes"/>, several and their index, under the
    /// names that diffusers and transformers look for: <c>model-00001-of-00002.safetensors</c> and <c>model.safetensors.index.json</c>.
    /// </summary>
    /// <remarks>Each file is written whole or not at all, the index last; files of an earlier writing by the same name go.</remarks>
    /// <param name="path">The one file, as <c>FOLDER/model.safetensors</c>; its folder is made if it is missing.</param>
    /// <param name="tensors">Distinct names and their tensors, which may lie on any device and are not disposed.</param>
    /// <param name="shardBytes">The most bytes of tensors in a file; a larger tensor has a file of its own.</param>
    /// <param name="storeFloatsAs">The type in which floating tensors are stored; null keeps each tensor's own.</param>
    /// <exception cref="ArgumentException">A name occurs twice, or a tensor's type cannot be stored.</exception>
    /// <exception cref="IOException">The folder or a file cannot be written, or the disk is full.</exception>
    public static void Write(
        string path, IEnumerable<KeyValuePair<string, Tensor>> tensors, long shardBytes, ScalarType? storeFloatsAs = null)
    {
        var shards = new List<List<KeyValuePair<string, Tensor>>>();
        var names = new HashSet<string>();
        long total = 0, inShard = 0;
        foreach (var pair in tensors)
        {
            if (!names.Add(pair.Key))
                throw new ArgumentException($"The tensor name '{pair.Key}' occurs twice.", nameof(tensors));
            long bytes = pair.Value.numel() * TensorBytes.SizeOf(Safetensors.TypeOf(pair.Value, storeFloatsAs));
            if (shards.Count == 0 || inShard + bytes > shardBytes)
            {
                shards.Add([]);
                inShard = 0;
            }
            shards[^1].Add(pair);
            inShard += bytes;
            total += bytes;
        }

        string folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        string index = path + ".index.json", stem = Path.ChangeExtension(path, null), extension = Path.GetExtension(path);
        // Without an index what is there meanwhile is not taken for a whole.
        if (Directory.Exists(folder))
            File.Delete(index);
        string[] files = shards.Count <= 1 ? [path] : [.. shards.Select((_, i) => $"{stem}-{i + 1:d5}-of-{shards.Count:d5}{extension}")];
        foreach (var (i, file) in files.Index())
            Safetensors.Write(file, shards.Count == 0 ? [] : shards[i], storeFloatsAs);
        if (files.Length > 1)
        {
            FileAside.WriteThrough(index, stream => WriteIndex(stream, total, shards.Zip(files, (shard, file) => (shard, Path.GetFileName(file)))));
        }
        string name = Path.GetFileName(stem);
        var written = files.Select(file => Path.GetFileName(file)).ToHashSet();
        foreach (string old in Directory.GetFiles(folder))
            if (!written.Contains(Path.GetFileName(old)) && IsWrittenAs(name, extension, Path.GetFileName(old)))
                File.Delete(old);
    }

    public override IReadOnlyDictionary<string, WeightEntry> Entries => _entries;

    public override void CopyTo(string name, Tensor target) => _shards[_map[Entry(name).Name]].CopyTo(name, target);

    public override void Dispose()
    {
        foreach (var shard in _shards.Values)
            shard.Dispose();
    }

    private WeightFile OpenShard(string path, string shard)
    {
        if (shard is "" or "." or ".." || shard.AsSpan().IndexOfAny("/\\:\0") >= 0)
            throw new InvalidDataException($"{Name}: the shard '{shard}' must be a file's name in the same folder, without a path.");
        string file = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path))!, shard);
        return !File.Exists(file) ? throw new InvalidDataException($"{Name} names the shard {shard}, which is not beside it.")
            : IsIndex(file) ? throw new InvalidDataException($"{Name}: the shard {shard} is no file of weights but an index itself.")
            : Open(file);
    }

    private static OrderedDictionary<string, string> Map(byte[] text, string what)
    {
        if (!Utf8.IsValid(text))
            throw new InvalidDataException($"{what} is not correct UTF-8.");
        try
        {
            return Parse(text, what)
                ?? throw new InvalidDataException($"{what} must have one weight_map of at least one tensor's name to a file's.");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)      // the latter: half a surrogate pair in a text
        {
            throw new InvalidDataException($"{what} is not correct JSON. {e.Message}", e);
        }
    }

    private static OrderedDictionary<string, string>? Parse(byte[] text, string what)
    {
        var allowance = new Allowance(what);
        var json = new Utf8JsonReader(text);
        json.Read();
        OrderedDictionary<string, string>? map = null;
        while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
        {
            bool isMap = json.ValueTextEquals("weight_map");
            json.Read();
            if (!isMap)
                json.Skip();
            else if (map is not null || json.TokenType != JsonTokenType.StartObject || !ReadMap(ref json, map = [], what, allowance))
                return null;
        }
        json.Read();    // refuses anything but white space after the object
        return map is { Count: > 0 } ? map : null;
    }

    private static bool ReadMap(ref Utf8JsonReader json, OrderedDictionary<string, string> map, string what, Allowance allowance)
    {
        var shards = new Dictionary<string, string>();
        while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
        {
            allowance.Take(256 + 2 * json.ValueSpan.Length);
            string name = json.GetString()!;
            if (!json.Read() || json.TokenType != JsonTokenType.String)
                return false;
            allowance.Take(2 * json.ValueSpan.Length);
            string shard = json.GetString()!;
            shards.TryAdd(shard, shard);
            if (!map.TryAdd(name, shards[shard]))
                throw new InvalidDataException($"{what} lists '{name}' twice.");
        }
        return json.TokenType == JsonTokenType.EndObject;
    }

    private static void WriteIndex(Stream stream, long total, IEnumerable<(List<KeyValuePair<string, Tensor>> Shard, string File)> shards)
    {
        var options = new JsonWriterOptions { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
        using var json = new Utf8JsonWriter(stream, options);
        json.WriteStartObject();
        json.WriteStartObject("metadata");
        json.WriteNumber("total_size", total);
        json.WriteEndObject();
        json.WriteStartObject("weight_map");
        foreach (var (shard, file) in shards)
            foreach (var (name, _) in shard)
                json.WriteString(name, file);
        json.WriteEndObject();
        json.WriteEndObject();
    }

    /// <summary>Whether a file's name is that of the one file, or of a shard.</summary>
    private static bool IsWrittenAs(string stem, string extension, string name)
        => Regex.IsMatch(name, $"^{Regex.Escape(stem)}(-[0-9]{{5}}-of-[0-9]{{5}})?{Regex.Escape(extension)}$");
}
