using System.Buffers.Binary;
using System.Text.Json;
using System.Text.Unicode;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Weights;

/// <summary>One tensor as the header of a safetensors file describes it; offsets count from the start of the data.</summary>
internal sealed record SafetensorsEntry(string Name, ScalarType Type, long[] Shape, long Begin, long End) : WeightEntry(Name, Type, Shape);

/// <summary>The header of a safetensors file, held against every rule of the format before any tensor is made.</summary>
/// <param name="Entries">The tensors in the order of their data, which follow each other without a hole.</param>
/// <param name="Metadata">The text pairs of <c>__metadata__</c>.</param>
internal sealed record SafetensorsHeader(IReadOnlyList<SafetensorsEntry> Entries, IReadOnlyDictionary<string, string> Metadata)
{
    private const long MaxLength = 100_000_000;     // the reference implementation's limit
    private const int MaxDimensions = 64;           // libtorch's
    private const int MaxDtypeLength = 16;

    /// <summary>The types that can be stored and their names.</summary>
    public static IReadOnlyDictionary<ScalarType, string> Names { get; } = new Dictionary<ScalarType, string>
    {
        [ScalarType.Float64] = "F64",
        [ScalarType.Float32] = "F32",
        [ScalarType.Float16] = "F16",
        [ScalarType.BFloat16] = "BF16",
        [ScalarType.Int64] = "I64",
        [ScalarType.Int32] = "I32",
        [ScalarType.Byte] = "U8",
        [ScalarType.Bool] = "BOOL",
    };

    private static readonly Dictionary<string, ScalarType> Types = Names.ToDictionary(pair => pair.Value, pair => pair.Key);

    /// <summary>How many bytes of data follow the header.</summary>
    public long DataLength => Entries.Count == 0 ? 0 : Entries[^1].End;

    /// <summary>Reads the header; the stream then stands at the first byte of the data.</summary>
    /// <exception cref="InvalidDataException">It is not a correct header, or the stream is too short for what it lists.</exception>
    public static SafetensorsHeader Read(Stream stream, string what)
    {
        byte[] text = Text(stream, what);
        if (text.Length == 0 || text[0] != '{')
            throw new InvalidDataException($"{what} is no safetensors file: its header does not begin with '{{'.");
        if (!Utf8.IsValid(text))
            throw new InvalidDataException($"{what}: the header is not correct UTF-8.");
        SafetensorsHeader header;
        try
        {
            header = Parse(text, what);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)      // the latter: half a surrogate pair in a text
        {
            throw new InvalidDataException($"{what}: the header is not correct JSON. {e.Message}", e);
        }
        long end = 0;
        foreach (var entry in header.Entries)
        {
            if (entry.Begin < end)
                throw Misplaced($"its neighbour ends at {end}: they overlap");
            if (entry.Begin > end)
                throw Misplaced($"the data before it ends at {end}: a hole");
            end = entry.End;

            InvalidDataException Misplaced(string why) => new($"{what}: '{entry.Name}' begins at byte {entry.Begin}, {why}.");
        }
        long left = stream.CanSeek ? stream.Length - stream.Position : long.MaxValue;
        if (end > left)
            throw new InvalidDataException($"{what} was cut off: its header lists {end} bytes of data, and {left} are there.");
        return header;
    }

    /// <summary>The error of data past the last tensor.</summary>
    public static InvalidDataException GoesOn(string what)
        => new($"{what} goes on after the last tensor its header lists: a hole, or a wrong file.");

    private static byte[] Text(Stream stream, string what)
    {
        var first = new byte[8];
        if (stream.ReadAtLeast(first, 8, throwOnEndOfStream: false) < 8)
            throw new InvalidDataException($"{what} is too short to be a safetensors file: it has no header length.");
        if (first.AsSpan().SequenceEqual("version "u8))
            throw new InvalidDataException($"{what} is a git-lfs pointer, not the weights themselves: fetch them with 'git lfs pull'.");
        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(first);
        if (length > MaxLength)
        {
            throw new InvalidDataException(
                $"{what} is no safetensors file: a header of {length} bytes is longer than the {MaxLength} allowed.");
        }
        if (stream.CanSeek && (long)length > stream.Length - stream.Position)
            throw new InvalidDataException($"{what} was cut off: its header of {length} bytes goes past the end of the file.");
        // A stream that does not tell its length is read as far as it goes, not as far as it claims.
        var text = new byte[Math.Min((int)length, 1 << 20)];
        for (int read = 0; ;)
        {
            read += stream.ReadAtLeast(text.AsSpan(read), text.Length - read, throwOnEndOfStream: false);
            if (read < text.Length)
                throw new InvalidDataException($"{what} was cut off within its header of {length} bytes.");
            if (read == (int)length)
                return text;
            Array.Resize(ref text, Math.Min((int)length, 2 * text.Length));
        }
    }

    // Token by token: a document of many short tokens would take several times the memory of its text.
    private static SafetensorsHeader Parse(byte[] text, string what)
    {
        var json = new Utf8JsonReader(text);
        json.Read();
        var entries = new List<SafetensorsEntry>();
        IReadOnlyDictionary<string, string>? metadata = null;
        var names = new HashSet<string>();
        var allowance = new Allowance(what);
        while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
        {
            allowance.Take(512 + 2 * json.ValueSpan.Length);
            string name = json.GetString()!;
            json.Read();
            if (!names.Add(name))
                throw new InvalidDataException($"{what} lists '{name}' twice.");
            if (name == "__metadata__")
                metadata = ReadMetadata(ref json, what, allowance);
            else
                entries.Add(Entry(name, ref json, what, allowance));
        }
        json.Read();    // refuses anything but white space after the object
        // An empty tensor begins where its neighbour does, and comes before it.
        entries.Sort((a, b) => (a.Begin, a.End).CompareTo((b.Begin, b.End)));
        return new SafetensorsHeader(entries, metadata ?? new Dictionary<string, string>());
    }

    private static Dictionary<string, string> ReadMetadata(ref Utf8JsonReader json, string what, Allowance allowance)
    {
        var metadata = new Dictionary<string, string>();
        if (json.TokenType == JsonTokenType.StartObject)
        {
            while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
            {
                allowance.Take(128 + 2 * json.ValueSpan.Length);
                string key = json.GetString()!;
                if (!json.Read() || json.TokenType != JsonTokenType.String)
                    break;
                allowance.Take(2 * json.ValueSpan.Length);
                if (!metadata.TryAdd(key, json.GetString()!))
                    throw new InvalidDataException($"{what} lists '{key}' of __metadata__ twice.");
            }
        }
        return json.TokenType == JsonTokenType.EndObject ? metadata
            : throw new InvalidDataException($"{what}: __metadata__ must be an object of texts.");
    }

    private static SafetensorsEntry Entry(string name, ref Utf8JsonReader json, string what, Allowance allowance)
    {
        string? dtype = null;
        List<long>? shape = null, offsets = null;
        if (json.TokenType == JsonTokenType.StartObject)
        {
            while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
            {
                var (isType, isShape) = (json.ValueTextEquals("dtype"), json.ValueTextEquals("shape"));
                bool isOffsets = json.ValueTextEquals("data_offsets");
                json.Read();
                if (isType && dtype is null && json.TokenType == JsonTokenType.String && json.ValueSpan.Length <= MaxDtypeLength)
                    dtype = json.GetString();
                else if (isShape && shape is null)
                    shape = Integers(ref json, MaxDimensions);
                else if (isOffsets && offsets is null)
                    offsets = Integers(ref json, 2);
                else if (isType || isShape || isOffsets)
                    break;
                else
                    json.Skip();
            }
        }
        if (dtype is null || shape is null || offsets is not [var begin, var end] || json.TokenType != JsonTokenType.EndObject)
        {
            throw new InvalidDataException(
                $"{what}: '{name}' must have a dtype, a shape and two data_offsets of whole numbers of at least 0, each once.");
        }
        allowance.Take(24 * shape.Count);
        if (!Types.TryGetValue(dtype, out var type))
            throw new InvalidDataException($"{what}: '{name}' has the dtype {dtype}; expected one of {string.Join(", ", Types.Keys)}.");
        string described = $"{what}: '{name}' of dtype {dtype} and shape [{string.Join(", ", shape)}]";
        long size = TensorBytes.SizeOf(type, shape) ?? throw new InvalidDataException($"{described} needs more bytes than any file has.");
        if (end - begin != size)
            throw new InvalidDataException($"{described} needs {size} bytes, but its data_offsets [{begin}, {end}] span {end - begin}.");
        return new SafetensorsEntry(name, type, [.. shape], begin, end);
    }

    /// <summary>Whole numbers of at least 0, at most so many; null, and the reader wherever it came to, if it is anything else.</summary>
    private static List<long>? Integers(ref Utf8JsonReader json, int most)
    {
        if (json.TokenType != JsonTokenType.StartArray)
            return null;
        var numbers = new List<long>();
        while (json.Read() && json.TokenType == JsonTokenType.Number && numbers.Count < most
            && json.TryGetInt64(out long number) && number >= 0)
            numbers.Add(number);
        return json.TokenType == JsonTokenType.EndArray ? numbers : null;
    }
}
