namespace Microsoft.ML.Mobius.Shapes;

/// <summary>Compares the object found in a frame with a shape drawn at nearby places and sizes.</summary>
internal static class ShapeFit
{
    /// <summary>The largest intersection over union, 0..1, of an object with a shape: around its bounding box, then refined around the best.</summary>
    public static double BestOverlap(ObjectMask mask, int shape)
    {
        (int left, int top, int right, int bottom) = mask.Bounds;
        (double x, double y, double radius) best = ((left + right) / 2.0, (top + bottom) / 2.0, (right - left + bottom - top) / 4.0);
        double overlap = 0;
        for (double step = Math.Max(1, best.radius / 8); step >= 0.4; step /= 2)
        {
            (double x, double y, double radius) middle = best;
            for (int dr = -1; dr <= 1; dr++)
                for (int dy = -1; dy <= 1; dy++)
                    for (int dx = -1; dx <= 1; dx++)
                    {
                        (double x, double y, double radius) place = (middle.x + dx * step, middle.y + dy * step, middle.radius + dr * step);
                        double own = Overlap(mask, shape, place);
                        if (own > overlap)
                            (overlap, best) = (own, place);
                    }
        }
        return overlap;
    }

    private static double Overlap(ObjectMask mask, int shape, (double X, double Y, double Radius) place)
    {
        if (place.Radius < 1)
            return 0;
        Span<float> coverage = stackalloc float[ShapeSpec.Width];
        int both = 0, drawn = 0;
        (int top, int bottom) = ShapeRenderer.Rows(place.Y, place.Radius);
        for (int y = top; y < bottom; y++)
        {
            coverage.Clear();
            ShapeRenderer.CoverRow(coverage, shape, y, place.X, place.Y, place.Radius);
            ReadOnlySpan<bool> row = mask.Pixels.AsSpan(y * ShapeSpec.Width, ShapeSpec.Width);
            for (int x = 0; x < coverage.Length; x++)
            {
                // Both sides are cut at half coverage, as the mask was.
                if (coverage[x] < 0.5f)
                    continue;
                drawn++;
                if (row[x])
                    both++;
            }
        }
        return (double)both / (drawn + mask.Count - both);
    }
}
