using System.Buffers.Binary;
using System.Text.Encodings.Web;
using System.Text.Json;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Weights;

/// <summary>
/// Writes and reads the safetensors format: a little-endian u64 header length, a JSON header, and the tensors' bytes without a hole.
/// </summary>
/// <remarks>
/// Both directions go forward only, so a stream inside a zip serves as well as a file, and both move the data in chunks: apart from the
/// tensors themselves a few tens of megabytes are held, whatever their size. See https://github.com/huggingface/safetensors.
/// </remarks>
internal static class Safetensors
{
    private const long ChunkElements = 4 << 20;

    private static readonly Dictionary<ScalarType, string> Names = new()
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

    /// <summary>Writes the tensors in the given order; they may lie on any device and are not disposed.</summary>
    /// <param name="stream">Written from its present position on, never sought in.</param>
    /// <param name="tensors">Distinct names and their tensors.</param>
    /// <param name="storeFloatsAs">The type in which floating tensors are stored, as float16; null keeps each tensor's own.</param>
    /// <param name="metadata">The text pairs of <c>__metadata__</c>; null writes <c>{"format":"pt"}</c>, which transformers asks for.</param>
    /// <exception cref="ArgumentException">A name occurs twice, or a tensor's type cannot be stored.</exception>
    public static void Write(
        Stream stream,
        IEnumerable<KeyValuePair<string, Tensor>> tensors,
        ScalarType? storeFloatsAs = null,
        IReadOnlyDictionary<string, string>? metadata = null)
    {
        var entries = tensors.Select(pair => (Name: pair.Key, Tensor: pair.Value, Type: TypeOf(pair.Value, storeFloatsAs))).ToList();
        byte[] header = Header(entries, metadata ?? new Dictionary<string, string> { ["format"] = "pt" });
        Span<byte> length = stackalloc byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
        stream.Write(length);
        stream.Write(header);

        using var noGrad = no_grad();
        foreach (var (_, tensor, type) in entries)
        {
            using var scope = NewDisposeScope();
            var flat = tensor.detach().reshape(-1);
            for (long at = 0; at < flat.shape[0]; at += ChunkElements)
            {
                using var chunkScope = NewDisposeScope();
                var chunk = flat.narrow(0, at, Math.Min(ChunkElements, flat.shape[0] - at)).to(type).cpu();
                stream.Write(chunk.bytes);
            }
        }
    }

    /// <summary>Reads every tensor of the stream into the CPU's memory.</summary>
    /// <param name="stream">Read from its present position to its end, never sought in.</param>
    /// <param name="floatsAs">The type into which floating tensors are converted, as float32; null keeps each tensor's stored one.</param>
    /// <returns>Name and tensor in the order of the data; the tensors belong to no dispose scope but to the caller.</returns>
    /// <exception cref="InvalidDataException">The data is not a whole and correct safetensors file.</exception>
    public static IReadOnlyDictionary<string, Tensor> Read(Stream stream, ScalarType? floatsAs = null)
    {
        string what = stream is FileStream file ? Path.GetFileName(file.Name) : "The safetensors data";
        var entries = SafetensorsHeader.Read(stream, what, Types);
        var tensors = new OrderedDictionary<string, Tensor>(entries.Count);
        using var noGrad = no_grad();
        try
        {
            foreach (var entry in entries)
            {
                bool converts = floatsAs is not null && floatsAs != entry.Type && is_floating_point(entry.Type);
                var tensor = empty(entry.Shape, converts ? floatsAs!.Value : entry.Type, CPU).DetachFromDisposeScope();
                tensors.Add(entry.Name, tensor);
                Fill(tensor, stream, converts ? entry.Type : null);
            }
            if (stream.ReadByte() >= 0)
                throw new InvalidDataException($"{what} goes on after the last tensor its header lists: a hole, or a wrong file.");
            return tensors;
        }
        catch (Exception e)
        {
            foreach (var tensor in tensors.Values)
                tensor.Dispose();
            if (e is EndOfStreamException)
                throw new InvalidDataException($"{what} ends within the tensor '{tensors.Last().Key}': it was cut off.", e);
            throw;
        }
    }

    private static void Fill(Tensor tensor, Stream stream, ScalarType? storedAs)
    {
        using var scope = NewDisposeScope();
        var flat = tensor.view(-1);
        using var buffer = storedAs is null ? null : empty(Math.Min(ChunkElements, flat.shape[0]), storedAs.Value, CPU);
        for (long at = 0; at < flat.shape[0]; at += ChunkElements)
        {
            using var chunkScope = NewDisposeScope();
            var target = flat.narrow(0, at, Math.Min(ChunkElements, flat.shape[0] - at));
            var source = buffer?.narrow(0, 0, target.shape[0]) ?? target;
            stream.ReadExactly(source.bytes);
            if (buffer is not null)
                target.copy_(source);
        }
    }

    private static ScalarType TypeOf(Tensor tensor, ScalarType? storeFloatsAs)
    {
        var type = storeFloatsAs is not null && tensor.is_floating_point() ? storeFloatsAs.Value : tensor.dtype;
        return Names.ContainsKey(type) ? type : throw new ArgumentException($"A tensor of type {type} cannot be stored; expected one of "
            + $"{string.Join(", ", Names.Keys)}.", nameof(tensor));
    }

    private static byte[] Header(List<(string Name, Tensor Tensor, ScalarType Type)> entries, IReadOnlyDictionary<string, string> metadata)
    {
        using var text = new MemoryStream();
        using (var json = new Utf8JsonWriter(text, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            json.WriteStartObject("__metadata__");
            foreach (var (key, value) in metadata)
                json.WriteString(key, value);
            json.WriteEndObject();
            var seen = new HashSet<string> { "__metadata__" };
            long end = 0;
            foreach (var (name, tensor, type) in entries)
            {
                if (!seen.Add(name))
                    throw new ArgumentException($"The tensor name '{name}' occurs twice or is reserved.", nameof(entries));
                long begin = end;
                end += tensor.numel() * SafetensorsHeader.SizeOf(type);
                json.WriteStartObject(name);
                json.WriteString("dtype", Names[type]);
                json.WriteStartArray("shape");
                foreach (long size in tensor.shape)
                    json.WriteNumberValue(size);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(begin);
                json.WriteNumberValue(end);
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        while (text.Length % 8 != 0)
            text.WriteByte((byte)' ');
        return text.ToArray();
    }
}
