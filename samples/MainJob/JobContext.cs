using Microsoft.ML.Runtime;

namespace Microsoft.ML.Mobius.Samples.MainJob;

/// <summary>Makes the <see cref="MLContext"/> of both commands.</summary>
internal static class JobContext
{
    private static readonly string[] s_shown = ["Opened '", "Convolutions ", "Resumed ", "Trained are ", "Training takes ", "Stopped after "];

    /// <summary>Seeded, with warnings shown, what was read of a pretrained model or a checkpoint, that convolutions are slow, what is trained, and that it ended early.</summary>
    public static MLContext Create(int seed)
    {
        var mlContext = new MLContext(seed);
        mlContext.Log += (_, e) =>
        {
            if (e.Kind is ChannelMessageKind.Warning or ChannelMessageKind.Error)
                Console.Error.WriteLine(e.RawMessage);
            else if (e.Kind is ChannelMessageKind.Info && s_shown.Any(start => e.RawMessage.StartsWith(start, StringComparison.Ordinal)))
                Console.WriteLine(e.RawMessage);
        };
        return mlContext;
    }
}
