namespace Microsoft.ML.Mobius.Cli;

/// <summary>A folder that results go to.</summary>
internal static class OutputFolder
{
    /// <summary>Makes it and tries to write a file there, before there is anything to lose.</summary>
    /// <exception cref="IOException">It cannot be made or written to.</exception>
    public static void Check(string folder)
    {
        string probe = Path.Combine(folder, $".{Guid.NewGuid():N}.tmp");
        try
        {
            Directory.CreateDirectory(folder);
            File.WriteAllBytes(probe, [0]);
            File.Delete(probe);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"The folder '{folder}' cannot be written to: {e.Message}", e);
        }
    }
}
