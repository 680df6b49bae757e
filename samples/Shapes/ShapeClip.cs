using Microsoft.ML.Mobius.Shapes;

namespace Microsoft.ML.Mobius.Samples.Shapes;

/// <summary>Where the object of a clip is in one frame, in pixels.</summary>
public readonly record struct ShapePlace(double CentreX, double CentreY, double Radius);

/// <summary>One drawn clip: what it shows, and where the object is in every frame.</summary>
public sealed class ShapeClip
{
    private ShapeClip(ShapeCombination combination, ShapePlace[] places) => (Combination, Places) = (combination, places);

    /// <summary>Colour, shape and motion.</summary>
    public ShapeCombination Combination { get; }

    /// <summary>The object's place in each of the <see cref="ShapeSpec.FrameCount"/> frames.</summary>
    public IReadOnlyList<ShapePlace> Places { get; }

    /// <summary>
    /// Draws size, speed and place at random: moving by 18 to 28 pixels over the clip with a radius of 7 to 11, or a radius between 6..8
    /// and 14..17 in place; the whole object is inside the frame in every frame.
    /// </summary>
    /// <param name="random">The same state gives the same clip.</param>
    /// <param name="combination">What the clip shows.</param>
    public static ShapeClip Sample(Random random, ShapeCombination combination)
    {
        ArgumentNullException.ThrowIfNull(random);
        (int signX, int signY) = combination.Motion switch { 0 => (-1, 0), 1 => (1, 0), 2 => (0, -1), 3 => (0, 1), _ => (0, 0) };
        double firstRadius, lastRadius, shift = 0;
        if (combination.Motion < 4)
        {
            firstRadius = lastRadius = Uniform(random, 7, 11);
            shift = Uniform(random, 18, 28);
        }
        else
        {
            (firstRadius, lastRadius) = (Uniform(random, 6, 8), Uniform(random, 14, 17));
            if (combination.Motion == 5)
                (firstRadius, lastRadius) = (lastRadius, firstRadius);
        }

        double startX = Start(random, ShapeSpec.Width, signX * shift, Math.Max(firstRadius, lastRadius));
        double startY = Start(random, ShapeSpec.Height, signY * shift, Math.Max(firstRadius, lastRadius));
        var places = new ShapePlace[ShapeSpec.FrameCount];
        for (int i = 0; i < places.Length; i++)
        {
            double t = i / (places.Length - 1.0);
            places[i] = new(startX + t * signX * shift, startY + t * signY * shift, firstRadius + t * (lastRadius - firstRadius));
        }
        return new(combination, places);
    }

    /// <summary>The pixels of the clip, [F, H, W, 3], 0..255.</summary>
    public byte[] Render()
    {
        const int frameBytes = ShapeSpec.Height * ShapeSpec.Width * 3;
        var pixels = new byte[Places.Count * frameBytes];
        for (int i = 0; i < Places.Count; i++)
            ShapeRenderer.Draw(pixels.AsSpan(i * frameBytes, frameBytes), Combination, Places[i].CentreX, Places[i].CentreY, Places[i].Radius);
        return pixels;
    }

    private static double Uniform(Random random, double low, double high) => low + random.NextDouble() * (high - low);

    private static double Start(Random random, int size, double shift, double radius) =>
        Uniform(random, radius - Math.Min(shift, 0), size - radius - Math.Max(shift, 0));
}
