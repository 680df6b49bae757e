namespace Microsoft.ML.Mobius.Files;

/// <summary>Tries a folder before there is anything to lose.</summary>
internal static class WritableFolder
{
    /// <summary>Makes it if it is missing, and writes a file that is gone at once.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="role">What it is, as "The folder of checkpoints", for the message.</param>
    /// <exception cref="IOException">It cannot be made or written to.</exception>
    public static void Make(string folder, string role)
    {
        if (File.Exists(folder))
            throw new IOException($"{role} '{folder}' is a file.");
        try
        {
            Directory.CreateDirectory(folder);
            File.Create(Path.Combine(folder, $".{Guid.NewGuid():N}.tmp"), bufferSize: 1, FileOptions.DeleteOnClose).Dispose();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"{role} '{folder}' cannot be written to: {e.Message}", e);
        }
    }
}
