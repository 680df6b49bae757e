using System.IO.Compression;
using System.Runtime.CompilerServices;

namespace Microsoft.ML.Mobius;

/// <summary>
/// Streams a large entry straight into or out of the model archive: stored, not deflated, and without the temporary file that ML.NET
/// makes for every entry.
/// </summary>
/// <remarks>
/// Reaches for two private fields of ML.NET; where they are named otherwise, ML.NET's own calls do the same with a temporary file. Either
/// kind of entry is read by either way. Safe beside ML.NET's own entries: it keeps those in temporary files until it writes them as a
/// whole, so that no other entry of the archive is open meanwhile.
/// </remarks>
internal static class StoredEntries
{
    /// <summary>Writes an entry beside the model that is being saved.</summary>
    /// <param name="ctx">Where the model is being saved.</param>
    /// <param name="name">Name of the entry within the model's folder.</param>
    /// <param name="write">Writes the contents to a forward-only stream.</param>
    public static void SaveStored(this ModelSaveContext ctx, string name, Action<Stream> write)
    {
        if (Archive(ctx) is not { } archive)
        {
            ctx.SaveBinaryStream(name, writer => write(writer.BaseStream));
            return;
        }
        string path = Path.Combine(ctx.Directory ?? "", name).Replace('\\', '/');
        using var stream = archive.CreateEntry(path, CompressionLevel.NoCompression).Open();
        write(stream);
    }

    /// <summary>Reads an entry beside the model that is being loaded.</summary>
    /// <param name="ctx">Where the model is being loaded from.</param>
    /// <param name="name">Name of the entry within the model's folder.</param>
    /// <param name="read">Reads the contents from a forward-only stream.</param>
    /// <returns>False if there is no such entry.</returns>
    /// <exception cref="InvalidDataException">The entry is damaged: its checksum is another.</exception>
    public static bool TryLoadStored(this ModelLoadContext ctx, string name, Action<Stream> read)
    {
        if (Entries(ctx)?.GetValueOrDefault(Path.Combine(ctx.Directory ?? "", name)) is not { } entry)
            return ctx.TryLoadBinaryStream(name, reader => read(reader.BaseStream));
        using var contents = entry.Open();
        using var stream = new Crc32Stream(contents);
        read(stream);
        stream.Verify(entry.Crc32);
        return true;
    }

    private static ZipArchive? Archive(ModelSaveContext ctx)
    {
        try
        {
            return ArchiveOf(ctx.Repository);
        }
        catch (MissingFieldException)
        {
            return null;
        }
    }

    private static Dictionary<string, ZipArchiveEntry>? Entries(ModelLoadContext ctx)
    {
        try
        {
            return EntriesOf(ctx.Repository);
        }
        catch (MissingFieldException)
        {
            return null;
        }
    }

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_archive")]
    private static extern ref ZipArchive ArchiveOf(RepositoryWriter writer);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_entries")]
    private static extern ref Dictionary<string, ZipArchiveEntry> EntriesOf(RepositoryReader reader);
}
