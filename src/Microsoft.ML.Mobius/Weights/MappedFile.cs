using System.IO.MemoryMappedFiles;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Weights;

/// <summary>A file mapped into memory a window at a time, so that what was read of it does not stay resident.</summary>
internal sealed class MappedFile : IDisposable
{
    private const int Window = 16 << 20;

    private readonly FileStream _file;
    private readonly MemoryMappedFile _map;

    /// <exception cref="InvalidDataException">The file is empty.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public MappedFile(string path)
    {
        Name = Path.GetFileName(path);
        _file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
        try
        {
            Length = _file.Length;
            if (Length == 0)
                throw new InvalidDataException($"{Name} is empty.");
            _map = MemoryMappedFile.CreateFromFile(_file, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);
        }
        catch
        {
            _file.Dispose();
            throw;
        }
    }

    /// <summary>The file's name without its folder.</summary>
    public string Name { get; }

    /// <summary>The file's length in bytes when it was opened.</summary>
    public long Length { get; }

    /// <summary>Makes sure that the file has so many bytes from <paramref name="offset"/> on.</summary>
    /// <exception cref="InvalidDataException">It has not.</exception>
    public void Check(long offset, long length)
    {
        // Asked again each time: touching a mapped page past the end of a file that became shorter would end the process.
        long there = RandomAccess.GetLength(_file.SafeFileHandle);
        if (offset < 0 || length < 0 || offset > Math.Min(Length, there) - length)
            throw new InvalidDataException($"{Name} was cut off: it has {there} bytes, not {length} from byte {offset} on.");
    }

    /// <summary>Reads the bytes from <paramref name="offset"/> on.</summary>
    /// <exception cref="InvalidDataException">The file does not reach that far.</exception>
    public void Read(long offset, Span<byte> target)
    {
        Check(offset, target.Length);
        while (target.Length > 0)
        {
            var part = target[..Math.Min(Window, target.Length)];
            using var view = _map.CreateViewAccessor(offset, part.Length, MemoryMappedFileAccess.Read);
            view.SafeMemoryMappedViewHandle.ReadSpan((ulong)view.PointerOffset, part);
            offset += part.Length;
            target = target[part.Length..];
        }
    }

    /// <summary>A stream over a part of the file.</summary>
    /// <exception cref="InvalidDataException">The file does not reach that far.</exception>
    public Stream Open(long offset, long length)
    {
        Check(offset, length);
        return length == 0 ? Stream.Null : new BufferedStream(_map.CreateViewStream(offset, length, MemoryMappedFileAccess.Read));
    }

    /// <summary>Fills a tensor of any device and type with as many stored elements of another type, from an offset on.</summary>
    /// <exception cref="InvalidDataException">The file does not reach that far.</exception>
    public void Fill(Tensor target, ScalarType storedAs, long offset) => TensorBytes.Fill(target, storedAs, bytes =>
    {
        Read(offset, bytes);
        offset += bytes.Length;
    });

    public void Dispose()
    {
        _map.Dispose();
        _file.Dispose();
    }
}
