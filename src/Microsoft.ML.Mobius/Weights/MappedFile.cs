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

    /// <summary>Reads the bytes from <paramref name="offset"/> on.</summary>
    /// <exception cref="InvalidDataException">The file does not reach that far.</exception>
    public void Read(long offset, Span<byte> target)
    {
        // A page past the end of a file that became shorter would end the process when it is touched.
        if (offset < 0 || offset > Math.Min(Length, _file.Length) - target.Length)
            throw new InvalidDataException($"{Name} ends before byte {offset + target.Length}: it was cut off.");
        while (target.Length > 0)
        {
            var part = target[..Math.Min(Window, target.Length)];
            using var view = _map.CreateViewAccessor(offset, part.Length, MemoryMappedFileAccess.Read);
            view.SafeMemoryMappedViewHandle.ReadSpan((ulong)view.PointerOffset, part);
            offset += part.Length;
            target = target[part.Length..];
        }
    }

    /// <summary>Fills <paramref name="target"/> with as many elements of type <paramref name="storedAs"/> from <paramref name="offset"/> on.</summary>
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
