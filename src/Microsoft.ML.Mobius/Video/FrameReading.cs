namespace Microsoft.ML.Mobius.Video;

/// <summary>Which frames of a file are read, from its first on, and how they are brought to one size.</summary>
/// <param name="Most">Frames after which reading ends; a file may have fewer.</param>
/// <param name="Height">Pixels.</param>
/// <param name="Width">Pixels.</param>
/// <param name="Rate">Frames per second.</param>
internal sealed record FrameReading(int Most, int Height, int Width, double Rate)
{
    /// <summary>Every frame of this number is read, whatever its time; 0 reads by time.</summary>
    public int Stride { get; init; }

    /// <summary>What of a frame that does not fit is kept: 0 the left or upper end, 1 the right or lower; null for the middle.</summary>
    public (double X, double Y)? CropAt { get; init; }
}
