namespace Microsoft.ML.Mobius.Shapes;

/// <summary>
/// Recovers colour, shape and motion of a clip from its pixels alone and compares them with what was asked for. Colour: the nearest hue,
/// by votes of the pixels inside the object. Shape: the template with the largest overlap over small shifts and sizes, by votes of the
/// frames. Motion: the straight line through the centroids and radii over time; the stronger of shift and change of size decides.
/// </summary>
public static class AttributeEvaluator
{
    /// <summary>The name found where an attribute cannot be told.</summary>
    public const string None = "none";

    /// <summary>The motion found where the object stays as it is.</summary>
    public const string Still = "still";

    // In pixels. What fills half of the frame is a background or noise: the largest object of the data set fills 28 %.
    private const int SmallestObject = 12, LargestObject = ShapeSpec.Width * ShapeSpec.Height / 2;
    private const double LeastOverlap = 0.7;
    private const double LeastShift = 6, LeastGrowth = 0.25;
    // The weakest motions of the data set: a shift of 18 pixels, a change of radius by 6.
    private const double UnitShift = 18, UnitGrowth = 6;
    private const int LeastChroma = 40;

    // The area of a shape of radius 1.
    private static readonly double[] UnitAreas = [Math.PI, 4, 2, 20.0 / 9];
    private static readonly double[] Hues = [.. ShapeSpec.Colours.Select(c => Hue(c.Red, c.Green, c.Blue))];

    /// <summary>Scores one clip.</summary>
    /// <param name="pixels">The frames, [F, 64, 64, 3], 0..255; two frames at least.</param>
    /// <param name="frameCount">F.</param>
    /// <param name="height">Must be <see cref="ShapeSpec.Height"/>.</param>
    /// <param name="width">Must be <see cref="ShapeSpec.Width"/>.</param>
    /// <param name="combination">What was asked for.</param>
    /// <exception cref="ArgumentException">The frames have another size, or the number of bytes does not fit.</exception>
    public static AttributeScores Evaluate(ReadOnlySpan<byte> pixels, int frameCount, int height, int width, ShapeCombination combination)
    {
        if (height != ShapeSpec.Height || width != ShapeSpec.Width)
            throw new ArgumentException($"Frames must be {ShapeSpec.Width} x {ShapeSpec.Height} pixels, not {width} x {height}.", nameof(width));
        if (frameCount < 2)
            throw new ArgumentOutOfRangeException(nameof(frameCount), frameCount, "Motion needs at least 2 frames.");
        int frameBytes = height * width * 3;
        if (pixels.Length != frameCount * frameBytes)
            throw new ArgumentException($"{frameCount} frames have {frameCount * frameBytes} bytes, not {pixels.Length}.", nameof(pixels));

        List<(int Time, ObjectMask Mask)> seen = [];
        var colourVotes = new int[ShapeSpec.Colours.Count + 1];
        for (int time = 0; time < frameCount; time++)
        {
            ReadOnlySpan<byte> frame = pixels.Slice(time * frameBytes, frameBytes);
            ObjectMask mask = ObjectMask.Of(frame);
            if (mask.Count is < SmallestObject or > LargestObject)
                continue;
            seen.Add((time, mask));
            foreach (int i in mask.Core())
                colourVotes[NearestColour(frame[3 * i], frame[3 * i + 1], frame[3 * i + 2])]++;
        }

        int empty = frameCount - seen.Count;
        if (2 * empty > frameCount || seen.Count < 2)
            return new(combination, false, false, false, None, None, None, 0, 0, 0, empty);

        int colour = Array.IndexOf(colourVotes, colourVotes.Max());
        (int shape, double overlap) = FindShape(seen.Select(s => s.Mask));
        (int motion, double shift, double growth) = FindMotion(seen, frameCount, UnitAreas[shape]);
        bool isShape = overlap >= LeastOverlap;
        return new(combination, colour == combination.Colour, isShape && shape == combination.Shape, motion == combination.Motion,
            colour < ShapeSpec.Colours.Count ? ShapeSpec.Colours[colour].Name : None, isShape ? ShapeSpec.Shapes[shape] : None,
            motion < 0 ? Still : ShapeSpec.Motions[motion], shift, growth, overlap, empty);
    }

    // An index of ShapeSpec.Colours, or their number for a pixel without colour.
    private static int NearestColour(byte red, byte green, byte blue)
    {
        if (Math.Max(red, Math.Max(green, blue)) - Math.Min(red, Math.Min(green, blue)) < LeastChroma)
            return Hues.Length;
        double hue = Hue(red, green, blue);
        return Enumerable.Range(0, Hues.Length).MinBy(i => Math.Abs(Math.IEEERemainder(hue - Hues[i], 360)));
    }

    // Degrees; red 0, green 120, blue 240.
    private static double Hue(double red, double green, double blue) =>
        Math.Atan2(Math.Sqrt(3) * (green - blue), 2 * red - green - blue) * 180 / Math.PI;

    private static (int Shape, double Overlap) FindShape(IEnumerable<ObjectMask> masks)
    {
        var votes = new double[ShapeSpec.Shapes.Count];
        var overlaps = new double[votes.Length];
        int count = 0;
        foreach (ObjectMask mask in masks)
        {
            double[] fits = [.. Enumerable.Range(0, votes.Length).Select(shape => ShapeFit.BestOverlap(mask, shape))];
            for (int shape = 0; shape < fits.Length; shape++)
                overlaps[shape] += fits[shape];
            // A frame counts by how well its best template fits, and not at all where none does.
            double best = fits.Max();
            if (best >= LeastOverlap)
                votes[Array.IndexOf(fits, best)] += best;
            count++;
        }
        int found = Enumerable.Range(0, votes.Length).MaxBy(shape => (votes[shape], overlaps[shape]));
        return (found, overlaps[found] / count);
    }

    // An index of ShapeSpec.Motions, or -1 for none of them.
    private static (int Motion, double Shift, double Growth) FindMotion(List<(int Time, ObjectMask Mask)> seen, int frameCount, double unitArea)
    {
        double[] times = [.. seen.Select(s => (double)s.Time)];
        double[] radii = [.. seen.Select(s => Math.Sqrt(s.Mask.Count / unitArea))];
        double shiftX = Slope(times, [.. seen.Select(s => s.Mask.Centroid.X)]) * (frameCount - 1);
        double shiftY = Slope(times, [.. seen.Select(s => s.Mask.Centroid.Y)]) * (frameCount - 1);
        double growth = Slope(times, radii) * (frameCount - 1);
        double shift = Math.Sqrt(shiftX * shiftX + shiftY * shiftY);

        bool moves = shift >= LeastShift, resizes = Math.Abs(growth) >= LeastGrowth * radii.Average();
        if (moves && (!resizes || shift / UnitShift >= Math.Abs(growth) / UnitGrowth))
            return (Math.Abs(shiftX) >= Math.Abs(shiftY) ? (shiftX < 0 ? 0 : 1) : (shiftY < 0 ? 2 : 3), shift, growth);
        return (resizes ? (growth > 0 ? 4 : 5) : -1, shift, growth);
    }

    // The slope of the least-squares line.
    private static double Slope(double[] x, double[] y)
    {
        double meanX = x.Average(), meanY = y.Average();
        double spread = x.Sum(v => (v - meanX) * (v - meanX));
        return x.Zip(y, (a, b) => (a - meanX) * (b - meanY)).Sum() / spread;
    }
}
