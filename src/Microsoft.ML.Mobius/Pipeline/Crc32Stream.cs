using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Microsoft.ML.Mobius;

/// <summary>Reads another stream and sums up what was read, as zip archives do. .NET does not compare the sum of an entry it reads; this
/// does.</summary>
internal sealed class Crc32Stream(Stream inner) : Stream
{
    private const int Slices = 8;

    private static readonly uint[] Table = MakeTable();

    private uint _crc = uint.MaxValue;

    /// <summary>Reads what is left and compares.</summary>
    /// <exception cref="InvalidDataException">The contents are not those that the sum was made of.</exception>
    public void Verify(uint expected)
    {
        CopyTo(Null, 1 << 16);
        if (~_crc != expected)
            throw new InvalidDataException($"its checksum is {~_crc:x8}, {expected:x8} is expected.");
    }

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override int Read(Span<byte> buffer)
    {
        int count = inner.Read(buffer);
        _crc = Add(_crc, buffer[..count]);
        return count;
    }

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    /// <summary>Eight bytes a step: the table of slice k holds the sum of a byte that k zero bytes follow.</summary>
    private static uint Add(uint crc, ReadOnlySpan<byte> bytes)
    {
        var table = Table;
        var words = MemoryMarshal.Cast<byte, ulong>(bytes);
        foreach (ulong word in words)
        {
            ulong mixed = (BitConverter.IsLittleEndian ? word : BinaryPrimitives.ReverseEndianness(word)) ^ crc;
            crc = 0;
            for (int k = 0; k < Slices; k++)
                crc ^= table[((Slices - 1 - k) << 8) | (int)((mixed >> (8 * k)) & 255)];
        }
        foreach (byte b in bytes[(words.Length * Slices)..])
            crc = (crc >> 8) ^ table[(crc ^ b) & 255];
        return crc;
    }

    private static uint[] MakeTable()
    {
        var table = new uint[Slices << 8];
        for (uint b = 0; b < 256; b++)
        {
            uint crc = b;
            for (int bit = 0; bit < 8; bit++)
                crc = (crc >> 1) ^ ((crc & 1) * 0xEDB88320);
            table[b] = crc;
        }
        for (int i = 256; i < table.Length; i++)
            table[i] = (table[i - 256] >> 8) ^ table[table[i - 256] & 255];
        return table;
    }
}
