namespace Microsoft.ML.Mobius.Shapes;

/// <summary>The object of one frame as found from its pixels: the largest connected region that is far from white.</summary>
public sealed class ObjectMask
{
    // The darkest channel of every colour is about 215 below white; half of that is the middle of a smoothed edge.
    private const int FarFromWhite = 105;
    private const int Width = ShapeSpec.Width, Height = ShapeSpec.Height;

    private ObjectMask(bool[] pixels, int count) => (Pixels, Count) = (pixels, count);

    /// <summary>Whether each pixel belongs to the object, [H, W].</summary>
    public bool[] Pixels { get; }

    /// <summary>The area in pixels.</summary>
    public int Count { get; }

    /// <summary>The centroid, in pixels from the left and the top edge of the frame.</summary>
    public (double X, double Y) Centroid { get; private set; }

    /// <summary>The bounding box in pixels; right and bottom are exclusive.</summary>
    public (int Left, int Top, int Right, int Bottom) Bounds { get; private set; }

    /// <summary>Finds the object of a frame [H, W, 3]; a frame without one gives an empty mask.</summary>
    public static ObjectMask Of(ReadOnlySpan<byte> rgb)
    {
        var far = new bool[Height * Width];
        for (int i = 0; i < far.Length; i++)
            far[i] = 255 - Math.Min(rgb[3 * i], Math.Min(rgb[3 * i + 1], rgb[3 * i + 2])) >= FarFromWhite;

        List<int> largest = [];
        var seen = new bool[far.Length];
        for (int start = 0; start < far.Length; start++)
        {
            if (!far[start] || seen[start])
                continue;
            List<int> region = Region(far, seen, start);
            if (region.Count > largest.Count)
                largest = region;
        }

        var mask = new ObjectMask(new bool[far.Length], largest.Count);
        if (largest.Count == 0)
            return mask;
        foreach (int i in largest)
            mask.Pixels[i] = true;
        mask.Centroid = (largest.Average(i => i % Width + 0.5), largest.Average(i => i / Width + 0.5));
        mask.Bounds = (largest.Min(i => i % Width), largest.Min(i => i / Width), largest.Max(i => i % Width) + 1, largest.Max(i => i / Width) + 1);
        return mask;
    }

    /// <summary>The pixels whose neighbours all belong to the object, so that no edge mixes white into their colour; all of them if none is.</summary>
    public IEnumerable<int> Core()
    {
        int[] core = [.. Enumerable.Range(0, Pixels.Length).Where(IsInside)];
        return core.Length > 0 ? core : Enumerable.Range(0, Pixels.Length).Where(i => Pixels[i]);

        bool IsInside(int i) => Pixels[i] && i % Width is > 0 and < Width - 1 && i / Width is > 0 and < Height - 1
            && Pixels[i - 1] && Pixels[i + 1] && Pixels[i - Width] && Pixels[i + Width];
    }

    private static List<int> Region(bool[] far, bool[] seen, int start)
    {
        List<int> region = [start];
        seen[start] = true;
        for (int next = 0; next < region.Count; next++)
        {
            int i = region[next], x = i % Width;
            if (x > 0) Visit(i - 1);
            if (x < Width - 1) Visit(i + 1);
            if (i >= Width) Visit(i - Width);
            if (i < far.Length - Width) Visit(i + Width);
        }
        return region;

        void Visit(int i)
        {
            if (!far[i] || seen[i])
                return;
            seen[i] = true;
            region.Add(i);
        }
    }
}
