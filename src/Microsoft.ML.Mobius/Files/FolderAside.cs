namespace Microsoft.ML.Mobius.Files;

/// <summary>Writes a folder under a passing name beside its place and renames it once it is whole.</summary>
internal static class FolderAside
{
    /// <param name="folder">The folder in the end; those above it are made if they are missing.</param>
    /// <param name="mayReplace">Whether a folder that is there, and not empty, may give way; it throws otherwise.</param>
    /// <param name="write">Fills the (existing, empty) folder that it is given the path of. Whatever it throws, nothing stays.</param>
    /// <exception cref="IOException">The folder cannot be written, or the disk is full; the message names it.</exception>
    public static void Write(string folder, Action<string> mayReplace, Action<string> write)
    {
        string whole = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        string name = $".{Path.GetFileName(whole)}.{Guid.NewGuid():N}";
        string parent = Path.GetDirectoryName(whole) ?? throw new ArgumentException($"'{folder}' is the root of a disk.", nameof(folder));
        string aside = Path.Combine(parent, name + ".tmp"), old = Path.Combine(parent, name + ".old");
        if (File.Exists(whole))
            throw new IOException($"'{folder}' is a file; a folder is expected.");
        if (Directory.Exists(whole) && Directory.EnumerateFileSystemEntries(whole).Any())
            mayReplace(whole);
        try
        {
            Directory.CreateDirectory(aside);
            write(aside);
            if (Directory.Exists(whole))
                Directory.Move(whole, old);
            Directory.Move(aside, whole);
        }
        catch (Exception e)
        {
            if (Directory.Exists(old) && !Directory.Exists(whole))
                Directory.Move(old, whole);
            if (e is IOException or UnauthorizedAccessException)
                throw new IOException($"The folder '{folder}' could not be written: {e.Message.Replace(aside, folder, StringComparison.Ordinal)}", e);
            throw;
        }
        finally
        {
            foreach (string leftover in new[] { aside, old })
                if (Directory.Exists(leftover))
                    Directory.Delete(leftover, recursive: true);
        }
    }
}
