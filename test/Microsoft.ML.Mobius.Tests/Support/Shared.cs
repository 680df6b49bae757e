namespace Microsoft.ML.Mobius.Tests;

/// <summary>The folder of shared data beside the repository (MOBIUS_SHARED, default ../shared); tests that need it are inconclusive without it.</summary>
internal static class Shared
{
    public static string Root { get; } = Environment.GetEnvironmentVariable("MOBIUS_SHARED") is { Length: > 0 } named
        ? named : Path.Combine(RepositoryRoot, "..", "shared");

    public static string RepositoryRoot
    {
        get
        {
            string? folder = AppContext.BaseDirectory;
            while (folder is not null && !File.Exists(Path.Combine(folder, "Microsoft.ML.Mobius.sln")))
                folder = Path.GetDirectoryName(folder);
            return folder ?? throw new DirectoryNotFoundException("Microsoft.ML.Mobius.sln was found in no folder above the tests.");
        }
    }

    /// <summary>The path of a file or folder under the shared folder; ends the test as inconclusive if it is not there.</summary>
    public static string PathOf(params string[] parts)
    {
        string path = Path.Combine([Root, .. parts]);
        if (!Path.Exists(path))
            Assert.Inconclusive($"{path} is not there: set MOBIUS_SHARED to the folder of shared data.");
        return path;
    }
}
