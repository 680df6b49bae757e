using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Weights;

/// <summary>Moves the elements of tensors as little-endian bytes, a chunk at a time.</summary>
internal static class TensorBytes
{
    private const long ChunkElements = 4 << 20;

    /// <summary>Fills the whole of <paramref name="target"/> with the bytes that come next.</summary>
    public delegate void Next(Span<byte> target);

    /// <summary>The size of one element in bytes.</summary>
    public static int SizeOf(ScalarType type) => type switch
    {
        ScalarType.Float64 or ScalarType.Int64 => 8,
        ScalarType.Float32 or ScalarType.Int32 => 4,
        ScalarType.Float16 or ScalarType.BFloat16 => 2,
        _ => 1,
    };

    /// <summary>The size of a tensor in bytes; null if even its strides would go past 64 bits.</summary>
    public static long? SizeOf(ScalarType type, IEnumerable<long> shape)
    {
        Int128 size = SizeOf(type);
        bool isEmpty = false;
        foreach (long length in shape)
        {
            size *= Math.Max(length, 1);
            isEmpty |= length == 0;
            if (size > long.MaxValue)
                return null;
        }
        return isEmpty ? 0 : (long)size;
    }

    /// <summary>Writes a tensor of any device as <paramref name="type"/>, row by row.</summary>
    public static void Write(Tensor tensor, ScalarType type, Stream stream)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var flat = tensor.detach().reshape(-1);
        for (long at = 0; at < flat.shape[0]; at += ChunkElements)
        {
            using var chunkScope = NewDisposeScope();
            var chunk = flat.narrow(0, at, Math.Min(ChunkElements, flat.shape[0] - at)).to(type).cpu();
            stream.Write(chunk.bytes);
        }
    }

    /// <summary>Fills a tensor of any device and type, row by row, with as many elements stored as <paramref name="type"/>.</summary>
    public static void Fill(Tensor target, ScalarType type, Next next)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        if (!target.is_contiguous())
        {
            var whole = empty(target.shape, type, CPU);
            Fill(whole, type, next);
            target.copy_(whole);
            return;
        }
        var flat = target.view(-1);
        var buffer = target.dtype == type && target.device_type == DeviceType.CPU ? null
            : empty(Math.Min(ChunkElements, flat.shape[0]), type, CPU);
        for (long at = 0; at < flat.shape[0]; at += ChunkElements)
        {
            using var chunkScope = NewDisposeScope();
            var chunk = flat.narrow(0, at, Math.Min(ChunkElements, flat.shape[0] - at));
            var source = buffer?.narrow(0, 0, chunk.shape[0]) ?? chunk;
            next(source.bytes);
            if (buffer is not null)
                chunk.copy_(source);
        }
    }
}
