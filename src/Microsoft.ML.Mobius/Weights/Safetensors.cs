using System.Buffers.Binary;
using System.Text.Encodings.Web;
using System.Text.Json;
using Microsoft.ML.Mobius.Files;
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

        foreach (var (_, tensor, type) in entries)
            TensorBytes.Write(tensor, type, stream);
    }

    /// <summary>Writes the tensors to a file, whole and on the disk; what was there before stays if anything fails.</summary>
    /// <param name="path">The file in the end; its folder is made if it is missing.</param>
    /// <param name="tensors">Distinct names and their tensors, which may lie on any device and are not disposed.</param>
    /// <param name="storeFloatsAs">The type in which floating tensors are stored; null keeps each tensor's own.</param>
    /// <param name="metadata">The text pairs of <c>__metadata__</c>; null writes <c>{"format":"pt"}</c>.</param>
    /// <exception cref="ArgumentException">A name occurs twice, or a tensor's type cannot be stored.</exception>
    /// <exception cref="IOException">The folder or the file cannot be written, or the disk is full.</exception>
    public static void Write(
        string path,
        IEnumerable<KeyValuePair<string, Tensor>> tensors,
        ScalarType? storeFloatsAs = null,
        IReadOnlyDictionary<string, string>? metadata = null)
        => FileAside.WriteThrough(path, stream => Write(stream, tensors, storeFloatsAs, metadata));

    /// <summary>Reads every tensor of the stream into the CPU's memory.</summary>
    /// <param name="stream">Read from its present position to its end, never sought in.</param>
    /// <param name="floatsAs">The type into which floating tensors are converted, as float32; null keeps each tensor's stored one.</param>
    /// <returns>Name and tensor in the order of the data; the tensors belong to no dispose scope but to the caller.</returns>
    /// <exception cref="InvalidDataException">The data is not a whole and correct safetensors file.</exception>
    public static IReadOnlyDictionary<string, Tensor> Read(Stream stream, ScalarType? floatsAs = null)
    {
        string what = stream is FileStream file ? Path.GetFileName(file.Name) : "The safetensors data";
        var entries = SafetensorsHeader.Read(stream, what).Entries;
        var tensors = new OrderedDictionary<string, Tensor>(entries.Count);
        try
        {
            foreach (var entry in entries)
            {
                var type = floatsAs is not null && is_floating_point(entry.Type) ? floatsAs.Value : entry.Type;
                var tensor = empty(entry.Shape, type, CPU).DetachFromDisposeScope();
                tensors.Add(entry.Name, tensor);
                TensorBytes.Fill(tensor, entry.Type, stream.ReadExactly);
            }
            if (stream.ReadByte() >= 0)
                throw SafetensorsHeader.GoesOn(what);
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

    /// <summary>The type a tensor is stored in.</summary>
    /// <exception cref="ArgumentException">It cannot be stored.</exception>
    public static ScalarType TypeOf(Tensor tensor, ScalarType? storeFloatsAs)
    {
        var type = storeFloatsAs is not null && tensor.is_floating_point() ? storeFloatsAs.Value : tensor.dtype;
        return SafetensorsHeader.Names.ContainsKey(type) ? type : throw new ArgumentException(
            $"A tensor of type {type} cannot be stored; expected one of {string.Join(", ", SafetensorsHeader.Names.Keys)}.", nameof(tensor));
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
                end += tensor.numel() * TensorBytes.SizeOf(type);
                json.WriteStartObject(name);
                json.WriteString("dtype", SafetensorsHeader.Names[type]);
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
