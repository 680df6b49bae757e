namespace Microsoft.ML.Mobius.Samples.MainJob;

/// <summary>The folder that everything is written to.</summary>
internal static class OutputFolder
{
    /// <summary>Makes it and tries to write a file there.</summary>
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
            throw new IOException($"The output folder '{folder}' cannot be written to: {e.Message}", e);
        }
    }
}
