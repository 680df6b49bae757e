namespace Microsoft.ML.Mobius.Training;

/// <summary>The lengths and sizes that clips are brought to; a batch has clips of one shape.</summary>
/// <param name="FrameCounts">Frames, at least one length.</param>
/// <param name="Sizes">Pixels, at least one size.</param>
internal sealed record ClipShapes(IReadOnlyList<int> FrameCounts, IReadOnlyList<(int Height, int Width)> Sizes)
{
    private const int Steps = 8;
    private const double Widest = 2;

    /// <summary>Frames of the longest.</summary>
    public int Longest => FrameCounts.Max();

    /// <summary>The longest that a clip of so many frames fills; the shortest where it fills none.</summary>
    public int FramesOf(int had) => FrameCounts.Where(count => count <= had).DefaultIfEmpty(FrameCounts.Min()).Max();

    /// <summary>The size of the nearest shape.</summary>
    /// <param name="aspectRatio">Width / height.</param>
    public (int Height, int Width) SizeOf(double aspectRatio)
        => Sizes.MinBy(size => Math.Abs(Math.Log(size.Width / (aspectRatio * size.Height))));

    /// <summary>
    /// Sizes from upright to wide, none with more pixels than the first, which is the one given. Sides are multiples of an eighth of its shorter side,
    /// rounded down to a multiple of the factor; none is longer than twice the other.
    /// </summary>
    /// <param name="height">Pixels.</param>
    /// <param name="width">Pixels.</param>
    /// <param name="factor">Pixels per latent.</param>
    public static IReadOnlyList<(int Height, int Width)> OfAspectRatios(int height, int width, int factor)
    {
        int step = Math.Max(factor, Math.Min(height, width) / Steps / factor * factor);
        int Other(int side) => height * width / side / step * step;
        var sides = Enumerable.Range(1, (int)(Math.Sqrt(Widest * height * width) / step)).Select(n => n * step).ToList();
        return
        [
            .. sides.Select(side => (Height: side, Width: Other(side))).Concat(sides.Select(side => (Height: Other(side), Width: side)))
                .Where(size => size.Height > 0 && size.Width > 0 && size.Width <= Widest * size.Height && size.Height <= Widest * size.Width)
                .OrderByDescending(size => size.Height * size.Width).ThenBy(size => size.Height)
                .Prepend((height, width)).Distinct(),
        ];
    }
}
