using Microsoft.ML.Runtime;

namespace Microsoft.ML.Mobius.Samples.MainJob;

/// <summary>Makes the <see cref="MLContext"/> of both commands.</summary>
internal static class JobContext
{
    /// <summary>Seeded, with warnings shown.</summary>
    public static MLContext Create(int seed)
    {
        var mlContext = new MLContext(seed);
        mlContext.Log += (_, e) =>
        {
            if (e.Kind is ChannelMessageKind.Warning or ChannelMessageKind.Error)
                Console.Error.WriteLine(e.Message);
        };
        return mlContext;
    }
}
