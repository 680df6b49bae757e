using System.Buffers.Binary;
using System.Text.Json;
using System.Text.Unicode;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Weights;

/// <summary>One tensor as the header of a safetensors file describes it; offsets count from the start of the data.</summary>
internal sealed record SafetensorsEntry(string Name, ScalarType Type, long[] Shape, long Begin, long End);

/// <summary>Reads the header of a safetensors file and holds it against every rule of the format before any tensor is made.</summary>
internal static class SafetensorsHeader
{
    private const long MaxLength = 100_000_000;     // the reference implementation's limit

    /// <summary>The size of one element in bytes.</summary>
    public static int SizeOf(ScalarType type) => type switch
    {
        ScalarType.Float64 or ScalarType.Int64 => 8,
        ScalarType.Float32 or ScalarType.Int32 => 4,
        ScalarType.Float16 or ScalarType.BFloat16 => 2,
        _ => 1,
    };

    /// <summary>The entries in the order of their data, which follow each other without a hole; the stream stands at the first.</summary>
    public static List<SafetensorsEntry> Read(Stream stream, string what, IReadOnlyDictionary<string, ScalarType> types)
    {
        using var document = Parse(Text(stream, what), what);
        var entries = new List<SafetensorsEntry>();
        var names = new HashSet<string>();
        foreach (var property in document.RootElement.EnumerateObject())
        {
            if (!names.Add(property.Name))
                throw new InvalidDataException($"{what} lists '{property.Name}' twice.");
            if (property.Name == "__metadata__")
                CheckMetadata(property.Value, what);
            else
                entries.Add(Entry(property.Name, property.Value, what, types));
        }
        // An empty tensor begins where its neighbour does, and comes before it.
        entries.Sort((a, b) => (a.Begin, a.End).CompareTo((b.Begin, b.End)));
        long end = 0;
        foreach (var entry in entries)
        {
            if (entry.Begin < end)
                throw new InvalidDataException($"{what}: '{entry.Name}' begins at byte {entry.Begin}, its neighbour ends at {end}: they overlap.");
            if (entry.Begin > end)
                throw new InvalidDataException($"{what}: '{entry.Name}' begins at byte {entry.Begin}, the data before it ends at {end}: a hole.");
            end = entry.End;
        }
        long left = stream.CanSeek ? stream.Length - stream.Position : long.MaxValue;
        if (end > left)
            throw new InvalidDataException($"{what} was cut off: its header lists {end} bytes of data, and {left} are there.");
        return entries;
    }

    private static byte[] Text(Stream stream, string what)
    {
        var first = new byte[8];
        if (stream.ReadAtLeast(first, 8, throwOnEndOfStream: false) < 8)
            throw new InvalidDataException($"{what} is too short to be a safetensors file: it has no header length.");
        if (first.AsSpan().SequenceEqual("version "u8))
            throw new InvalidDataException($"{what} is a git-lfs pointer, not the weights themselves: fetch them with 'git lfs pull'.");
        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(first);
        if (length > MaxLength)
            throw new InvalidDataException($"{what} is no safetensors file: a header of {length} bytes is longer than the {MaxLength} allowed.");
        if (stream.CanSeek && (long)length > stream.Length - stream.Position)
            throw new InvalidDataException($"{what} was cut off: its header of {length} bytes goes past the end of the file.");
        var text = new byte[length];
        if (stream.ReadAtLeast(text, text.Length, throwOnEndOfStream: false) < text.Length)
            throw new InvalidDataException($"{what} was cut off within its header of {length} bytes.");
        return text;
    }

    private static JsonDocument Parse(byte[] text, string what)
    {
        if (text.Length == 0 || text[0] != '{')
            throw new InvalidDataException($"{what} is no safetensors file: its header does not begin with '{{'.");
        if (!Utf8.IsValid(text))
            throw new InvalidDataException($"{what}: the header is not correct UTF-8.");
        try
        {
            return JsonDocument.Parse(text);
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"{what}: the header is not correct JSON. {e.Message}", e);
        }
    }

    private static void CheckMetadata(JsonElement metadata, string what)
    {
        if (metadata.ValueKind != JsonValueKind.Object || metadata.EnumerateObject().Any(pair => pair.Value.ValueKind != JsonValueKind.String))
            throw new InvalidDataException($"{what}: __metadata__ must be an object of texts.");
    }

    private static SafetensorsEntry Entry(string name, JsonElement value, string what, IReadOnlyDictionary<string, ScalarType> types)
    {
        if (value.ValueKind != JsonValueKind.Object
            || !value.TryGetProperty("dtype", out var dtype) || dtype.ValueKind != JsonValueKind.String
            || !value.TryGetProperty("shape", out var sizes) || Integers(sizes) is not { } shape
            || !value.TryGetProperty("data_offsets", out var places) || Integers(places) is not [var begin, var end])
        {
            throw new InvalidDataException($"{what}: '{name}' must have a dtype, a shape and two data_offsets of whole numbers of at least 0.");
        }
        if (!types.TryGetValue(dtype.GetString()!, out var type))
        {
            throw new InvalidDataException(
                $"{what}: '{name}' has the dtype {dtype.GetString()}; expected one of {string.Join(", ", types.Keys)}.");
        }
        var size = shape.Contains(0) ? 0 : shape.Aggregate((Int128)SizeOf(type), (product, n) => Saturated(product * n));
        if ((Int128)end - begin != size)
        {
            throw new InvalidDataException(
                $"{what}: '{name}' of dtype {dtype.GetString()} and shape [{string.Join(", ", shape)}] needs {size} bytes, but its data_offsets "
                + $"[{begin}, {end}] span {(Int128)end - begin}.");
        }
        return new SafetensorsEntry(name, type, shape, begin, end);
    }

    private static Int128 Saturated(Int128 size) => size > long.MaxValue ? (Int128)long.MaxValue + 1 : size;

    private static long[]? Integers(JsonElement array)
    {
        if (array.ValueKind != JsonValueKind.Array)
            return null;
        var numbers = new List<long>();
        foreach (var item in array.EnumerateArray())
        {
            if (item.ValueKind != JsonValueKind.Number || !item.TryGetInt64(out long number) || number < 0)
                return null;
            numbers.Add(number);
        }
        return [.. numbers];
    }
}
