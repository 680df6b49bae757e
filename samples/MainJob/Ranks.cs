namespace Microsoft.ML.Mobius.Samples.MainJob;

/// <summary>Of several processes that mpirun started, the first writes; the library does the rest.</summary>
internal static class Ranks
{
    public static bool IsFirst { get; } = Environment.GetEnvironmentVariable("OMPI_COMM_WORLD_RANK") is null or "0";

    public static bool AreOne { get; } = Environment.GetEnvironmentVariable("OMPI_COMM_WORLD_SIZE") is null or "1";
}
