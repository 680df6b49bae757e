namespace Microsoft.ML.Mobius.Files;

/// <summary>Writes a file under a passing name in its own folder and renames it once it is whole.</summary>
internal static class FileAside
{
    /// <param name="path">The file in the end; its folder is made if it is missing.</param>
    /// <param name="write">Fills the (existing, empty) file that it is given the path of. Whatever it throws, nothing stays.</param>
    /// <exception cref="IOException">The folder or the file cannot be written, or the disk is full; the message names it.</exception>
    public static void Write(string path, Action<string> write)
    {
        string whole = Path.GetFullPath(path);
        string folder = Path.GetDirectoryName(whole) ?? throw new ArgumentException($"'{path}' is not the path of a file.", nameof(path));
        string aside = Path.Combine(folder, $".{Path.GetFileName(whole)}.{Guid.NewGuid():N}.tmp");
        try
        {
            Directory.CreateDirectory(folder);
            File.Create(aside).Dispose();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"The folder '{folder}' cannot be written to: {e.Message}", e);
        }

        try
        {
            write(aside);
            File.Move(aside, whole, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"'{path}' could not be written: {e.Message.Replace(aside, path, StringComparison.Ordinal)}", e);
        }
        finally
        {
            File.Delete(aside);
        }
    }

    /// <summary>The same for a stream; the file is on the disk, not only in the system's memory, before it has its name.</summary>
    /// <param name="path">The file in the end; its folder is made if it is missing.</param>
    /// <param name="write">Fills the file. Whatever it throws, nothing stays.</param>
    /// <exception cref="IOException">The folder or the file cannot be written, or the disk is full; the message names it.</exception>
    public static void WriteThrough(string path, Action<Stream> write) => Write(path, aside =>
    {
        using var stream = new FileStream(aside, FileMode.Create, FileAccess.Write);
        write(stream);
        stream.Flush(flushToDisk: true);
    });
}
