namespace Microsoft.ML.Mobius.Shapes;

/// <summary>
/// Draws the shapes with their edges smoothed. Pixel (x, y) covers [x, x+1) x [y, y+1), so coordinates are continuous. Each shape is one
/// interval on every horizontal line: the coverage of a pixel is exact along x and the mean of <see cref="Lines"/> lines along y.
/// </summary>
public static class ShapeRenderer
{
    private const int Lines = 8;

    /// <summary>Fills a frame with white and draws the object into it.</summary>
    /// <param name="rgb">The frame, [<see cref="ShapeSpec.Height"/>, <see cref="ShapeSpec.Width"/>, 3], rows from the top; overwritten.</param>
    /// <param name="combination">Gives the colour and the shape.</param>
    /// <param name="centreX">The centre in pixels from the left edge; the object is cut off at the frame.</param>
    /// <param name="centreY">The centre in pixels from the top edge.</param>
    /// <param name="radius">Half of the object's width, in pixels, above 0.</param>
    /// <exception cref="ArgumentException"><paramref name="rgb"/> has another length.</exception>
    public static void Draw(Span<byte> rgb, ShapeCombination combination, double centreX, double centreY, double radius)
    {
        const int length = ShapeSpec.Height * ShapeSpec.Width * 3;
        if (rgb.Length != length)
            throw new ArgumentException($"A frame has {length} bytes, not {rgb.Length}.", nameof(rgb));

        rgb.Fill(255);
        (_, byte red, byte green, byte blue) = ShapeSpec.Colours[combination.Colour];
        Span<float> coverage = stackalloc float[ShapeSpec.Width];
        (int top, int bottom) = Rows(centreY, radius);
        for (int y = top; y < bottom; y++)
        {
            coverage.Clear();
            CoverRow(coverage, combination.Shape, y, centreX, centreY, radius);
            Span<byte> row = rgb.Slice(y * ShapeSpec.Width * 3, ShapeSpec.Width * 3);
            for (int x = 0; x < coverage.Length; x++)
            {
                float alpha = coverage[x];
                if (alpha <= 0)
                    continue;
                row[3 * x] = Mix(red, alpha);
                row[3 * x + 1] = Mix(green, alpha);
                row[3 * x + 2] = Mix(blue, alpha);
            }
        }
    }

    /// <summary>The rows of the frame that an object may touch; bottom is exclusive.</summary>
    internal static (int Top, int Bottom) Rows(double centreY, double radius) =>
        (Math.Max(0, (int)Math.Floor(centreY - radius)), Math.Min(ShapeSpec.Height, (int)Math.Ceiling(centreY + radius)));

    /// <summary>Adds to each pixel of row y, [width], the share that the shape covers, 0..1.</summary>
    internal static void CoverRow(Span<float> row, int shape, int y, double centreX, double centreY, double radius)
    {
        for (int line = 0; line < Lines; line++)
        {
            double half = HalfWidth(shape, y + (line + 0.5) / Lines - centreY, radius);
            double left = Math.Max(centreX - half, 0), right = Math.Min(centreX + half, row.Length);
            if (left >= right)
                continue;
            int first = (int)left, last = Math.Min((int)right, row.Length - 1);
            if (first == last)
            {
                row[first] += (float)(right - left) / Lines;
                continue;
            }
            row[first] += (float)(first + 1 - left) / Lines;
            for (int x = first + 1; x < last; x++)
                row[x] += 1f / Lines;
            row[last] += (float)(right - last) / Lines;
        }
    }

    // Half the width of the shape on the line dy below its centre; 0 outside.
    private static double HalfWidth(int shape, double dy, double radius) => Math.Abs(dy) > radius ? 0 : shape switch
    {
        0 => Math.Sqrt(radius * radius - dy * dy),
        1 => radius,
        2 => (dy + radius) / 2,
        _ => Math.Abs(dy) <= radius / 3 ? radius : radius / 3,
    };

    private static byte Mix(byte colour, float alpha) => (byte)(255.5f + (colour - 255) * Math.Min(alpha, 1f));
}
