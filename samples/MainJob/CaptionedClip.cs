namespace Microsoft.ML.Mobius.Samples.MainJob;

/// <summary>One row of the training data.</summary>
internal sealed class CaptionedClip
{
    /// <summary>Path of a video file.</summary>
    public required string Clip { get; init; }

    /// <summary>What it shows.</summary>
    public required string Caption { get; init; }
}
