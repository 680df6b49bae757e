using System.Buffers.Binary;
using System.Text;
using System.Text.Unicode;

namespace Microsoft.ML.Mobius.Weights;

/// <summary>
/// Where the entries of a zip lie whose data are not compressed, as in the files of torch.save: they are read in place, which
/// <see cref="System.IO.Compression.ZipArchive"/> does not let one do.
/// </summary>
internal static class StoredZip
{
    private const uint EndSignature = 0x06054b50, End64Signature = 0x06064b50, LocatorSignature = 0x07064b50;
    private const uint EntrySignature = 0x02014b50, LocalSignature = 0x04034b50;
    private const int EndLength = 22, End64Length = 56, LocatorLength = 20, EntryLength = 46, LocalLength = 30;

    /// <summary>Each entry's name and the place of its data.</summary>
    /// <exception cref="InvalidDataException">It is no whole and correct zip, or an entry is compressed or encrypted.</exception>
    public static Dictionary<string, (long Offset, long Length)> Entries(MappedFile file, Allowance allowance)
    {
        var (start, length, count) = Directory(file);
        allowance.Take(length);
        var directory = Bytes(file, start, length);
        var entries = new Dictionary<string, (long Offset, long Length)>();
        int at = 0;
        for (long i = 0; i < count; i++)
        {
            allowance.Take(320);
            if (directory.Length - at < EntryLength || UInt32(directory, at) != EntrySignature)
                throw Broken(file, $"entry {i} of its directory is not there");
            var header = directory.AsSpan(at, EntryLength);
            int nameLength = UInt16(header, 28), extraLength = UInt16(header, 30);
            if (directory.Length - at - EntryLength < nameLength + extraLength + UInt16(header, 32))
                throw Broken(file, $"entry {i} of its directory goes past its end");
            var nameBytes = directory.AsSpan(at + EntryLength, nameLength);
            allowance.Take(2 * nameLength);
            if (!Utf8.IsValid(nameBytes))
                throw Broken(file, $"the name of entry {i} is not correct UTF-8");
            string name = Encoding.UTF8.GetString(nameBytes);
            if ((UInt16(header, 8) & 1) != 0 || UInt16(header, 10) != 0)
                throw Broken(file, $"'{name}' is compressed or encrypted, which torch.save does not do");
            var (size, stored, local) = Place(header, directory.AsSpan(at + EntryLength + nameLength, extraLength), file, name);
            if (size != stored)
                throw Broken(file, $"'{name}' has {size} bytes, {stored} of them stored");
            if (!entries.TryAdd(name, (DataOf(file, name, local, start, size), size)))
                throw Broken(file, $"it has two entries '{name}'");
            at += EntryLength + nameLength + extraLength + UInt16(header, 32);
        }
        CheckApart(file, entries);
        return entries;
    }

    /// <summary>Where the directory begins, its length, and how many entries it lists.</summary>
    private static (long Start, long Length, long Count) Directory(MappedFile file)
    {
        var tail = Bytes(file, Math.Max(0, file.Length - EndLength - ushort.MaxValue), Math.Min(file.Length, EndLength + ushort.MaxValue));
        int at = tail.Length - EndLength;
        while (at >= 0 && (UInt32(tail, at) != EndSignature || UInt16(tail, at + 20) != tail.Length - at - EndLength))
            at--;
        if (at < 0)
            throw Broken(file, "it has no directory at its end: it was cut off");
        long end = file.Length - tail.Length + at;
        long count = UInt16(tail, at + 10), length = UInt32(tail, at + 12), start = UInt32(tail, at + 16);
        if (at >= LocatorLength && UInt32(tail, at - LocatorLength) == LocatorSignature)
        {
            end = Int64(tail, at - LocatorLength + 8);
            var end64 = Bytes(file, end, End64Length);
            if (UInt32(end64, 0) != End64Signature)
                throw Broken(file, "the end of its directory is not where it says");
            (count, length, start) = (Int64(end64, 32), Int64(end64, 40), Int64(end64, 48));
        }
        if (start < 0 || length < 0 || count < 0 || length > end - start || count > length / EntryLength)
            throw Broken(file, $"a directory of {count} entries and {length} bytes from byte {start} on does not fit before byte {end}");
        return (start, length, count);
    }

    /// <summary>An entry's size, stored size and place of its local header; what is too large for 32 bits is in an extra field.</summary>
    private static (long Size, long Stored, long Local) Place(
        ReadOnlySpan<byte> header, ReadOnlySpan<byte> extra, MappedFile file, string name)
    {
        long[] values = [UInt32(header, 24), UInt32(header, 20), UInt32(header, 42)];
        while (extra.Length >= 4 && UInt16(extra, 2) <= extra.Length - 4)
        {
            var field = extra.Slice(4, UInt16(extra, 2));
            if (UInt16(extra, 0) == 1)
            {
                for (int i = 0; i < values.Length; i++)
                {
                    if (values[i] == uint.MaxValue && field.Length >= 8)
                    {
                        values[i] = Int64(field, 0);
                        field = field[8..];
                    }
                }
            }
            extra = extra[(4 + UInt16(extra, 2))..];
        }
        return values.All(value => value >= 0) ? (values[0], values[1], values[2])
            : throw Broken(file, $"'{name}' has a size or place below 0");
    }

    private static long DataOf(MappedFile file, string name, long local, long directory, long size)
    {
        if (local > directory - LocalLength)
            throw Broken(file, $"'{name}' is not before the directory");
        Span<byte> header = stackalloc byte[LocalLength];
        file.Read(local, header);
        long data = local + LocalLength + UInt16(header, 26) + UInt16(header, 28);
        return UInt32(header, 0) != LocalSignature ? throw Broken(file, $"'{name}' is not where the directory says")
            : size > directory - data ? throw Broken(file, $"'{name}' of {size} bytes from byte {data} on goes past the data")
            : data;
    }

    private static void CheckApart(MappedFile file, Dictionary<string, (long Offset, long Length)> entries)
    {
        long end = 0;
        foreach (var (name, place) in entries.OrderBy(entry => entry.Value))
        {
            if (place.Offset < end)
                throw Broken(file, $"'{name}' begins at byte {place.Offset}, its neighbour ends at {end}: they overlap");
            end = place.Offset + place.Length;
        }
    }

    private static byte[] Bytes(MappedFile file, long offset, long length)
    {
        file.Check(offset, length);
        var bytes = new byte[length];
        file.Read(offset, bytes);
        return bytes;
    }

    private static int UInt16(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes[at..]);

    private static uint UInt32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]);

    private static long Int64(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadInt64LittleEndian(bytes[at..]);

    private static InvalidDataException Broken(MappedFile file, string why) => new($"{file.Name} is no correct zip of torch.save: {why}.");
}
