using SkiaSharp;

namespace Microsoft.ML.Mobius.BaseModel;

/// <summary>
/// Random cartoon-like images, drawn by ourselves, that the base model's autoencoder is trained on: faces, hands, hearts, stars, animal-like
/// blobs, things, strokes; flat and graded colours, outlines, soft shadows; mostly on white.
/// </summary>
internal static class Drawings
{
    /// <summary>Draws one image.</summary>
    /// <param name="random">The same state gives the same image.</param>
    /// <param name="rgb">The image, [height, width, 3], rows from the top, 0..255; overwritten.</param>
    /// <param name="width">In pixels.</param>
    /// <param name="height">In pixels.</param>
    /// <exception cref="ArgumentException"><paramref name="rgb"/> has another length than 3 * width * height.</exception>
    public static void Draw(Random random, Span<byte> rgb, int width, int height)
    {
        if (rgb.Length != 3 * width * height)
            throw new ArgumentException($"Expected {3 * width * height} bytes for {width} x {height} pixels, not {rgb.Length}.", nameof(rgb));

        using var surface = SKSurface.Create(new SKImageInfo(width, height, SKColorType.Rgba8888, SKAlphaType.Premul))
            ?? throw new InvalidOperationException($"No drawing surface of {width} x {height} pixels could be made.");
        surface.Canvas.Scale(width / Sketch.Size, height / Sketch.Size);
        var sketch = new Sketch(surface.Canvas, random);
        sketch.Background();
        Compose(sketch, random);

        using SKPixmap pixmap = surface.PeekPixels();
        ReadOnlySpan<byte> rgba = pixmap.GetPixelSpan();
        for (int source = 0, target = 0; target < rgb.Length; source += 4, target += 3)
        {
            rgb[target] = rgba[source];
            rgb[target + 1] = rgba[source + 1];
            rgb[target + 2] = rgba[source + 2];
        }
    }

    private static void Compose(Sketch sketch, Random random)
    {
        int count = random.Next(10) switch { < 7 => 1, < 9 => 2, _ => 3 };
        for (int i = 0; i < count; i++)
        {
            sketch.Begin(count);
            switch (random.Next(100))
            {
                case < 28: sketch.Face(); break;
                case < 46: sketch.Hand(); break;
                case < 58: sketch.Creature(); break;
                case < 68: sketch.Sign(); break;
                case < 80: sketch.Thing(); break;
                case < 88: sketch.Strokes(); break;
                default: sketch.Pile(); break;
            }
            sketch.End();
        }
        if (random.Next(4) == 0)
        {
            sketch.Begin(1);
            sketch.Accents();
            sketch.End();
        }
    }
}
