namespace Microsoft.ML.Mobius.Video;

/// <summary>What becomes of a file that is shorter than the clip asked for.</summary>
public enum ShortClip
{
    /// <summary>Start again from the first frame until there are enough. The default.</summary>
    Loop,

    /// <summary>Repeat the last frame until there are enough.</summary>
    Hold,

    /// <summary>Throw <see cref="InvalidDataException"/>.</summary>
    Refuse,
}

/// <summary>How a file becomes a <see cref="VideoClip"/>.</summary>
public sealed record VideoReadOptions
{
    /// <summary>Frames per clip, at least 1; the default is 8.</summary>
    public int FrameCount { get; init; } = 8;

    /// <summary>Width of the clip in pixels, 1..16384; the default is 64.</summary>
    public int Width { get; init; } = 64;

    /// <summary>Height of the clip in pixels, 1..16384; the default is 64.</summary>
    public int Height { get; init; } = 64;

    /// <summary>Frames per second at which the file is sampled, 0.001..1000; the default is 8.</summary>
    /// <remarks>Frame k of the clip is the one that the file shows at k / FrameRate seconds, whatever the file's own rate.</remarks>
    public double FrameRate { get; init; } = 8;

    /// <summary>What to do with a file that ends too early; the default is <see cref="ShortClip.Loop"/>.</summary>
    public ShortClip ShortClip { get; init; } = ShortClip.Loop;

    private const int LargestSide = 16384;

    internal void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(FrameCount, 1);
        CheckSide(Width, nameof(Width));
        CheckSide(Height, nameof(Height));
        if (!(FrameRate is >= 0.001 and <= 1000))
            throw new ArgumentOutOfRangeException(nameof(FrameRate), FrameRate, "The frame rate must lie in 0.001..1000 frames/s.");
        if (!Enum.IsDefined(ShortClip))
            throw new ArgumentOutOfRangeException(nameof(ShortClip), ShortClip, "Expected Loop, Hold or Refuse.");
        if ((Int128)FrameCount * Width * Height * 4 > Array.MaxLength)
            throw new ArgumentOutOfRangeException(nameof(FrameCount), FrameCount,
                $"{FrameCount} frames of {Width}x{Height} do not fit into one array.");
    }

    private static void CheckSide(int pixels, string name)
    {
        if (pixels is < 1 or > LargestSide)
            throw new ArgumentOutOfRangeException(name, pixels, $"A side must have 1..{LargestSide} pixels.");
    }
}
