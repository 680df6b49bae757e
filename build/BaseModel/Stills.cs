using Microsoft.ML.Mobius.Samples.Shapes;
using Microsoft.ML.Mobius.Shapes;

namespace Microsoft.ML.Mobius.BaseModel;

/// <summary>
/// The pictures the base model learns from: single stills with captions. Of a clip only one frame is ever drawn, and of the combinations that measure
/// generalisation none.
/// </summary>
internal static class Stills
{
    /// <summary>For the autoencoder: one part shapes, two parts free drawings; without captions.</summary>
    public static string ForAutoencoder(Random random, byte[] pixels)
    {
        if (random.Next(3) == 0)
            return Shape(random, pixels, first: false, moving: false, placed: false);
        Drawings.Draw(random, pixels, ImageSource.Size, ImageSource.Size);
        return "";
    }

    /// <summary>
    /// For the text-to-image model's first lessons: shapes, and one free drawing in ten, captioned as a sticker. Every second caption tells the place, in
    /// the words of photographs' captions: from them the model learns that a word may mean a part of the picture.
    /// </summary>
    public static string WithPlaces(Random random, byte[] pixels)
        => Sticker(random, pixels) ?? Shape(random, pixels, first: random.Next(2) == 0, moving: random.Next(4) > 0, placed: random.Next(2) == 0);

    /// <summary>
    /// For its last lessons: two captions in three say that the shape moves, and such a still is the first frame of its clip. For photographs catch a
    /// moving thing with room ahead of it, and so motion words tell something of the picture.
    /// </summary>
    public static string WithMotions(Random random, byte[] pixels)
    {
        bool moving = random.Next(3) > 0;
        return Sticker(random, pixels) ?? Shape(random, pixels, first: moving, moving, placed: random.Next(3) == 0);
    }

    private static string? Sticker(Random random, byte[] pixels)
    {
        if (random.Next(10) > 0)
            return null;
        Drawings.Draw(random, pixels, ImageSource.Size, ImageSource.Size);
        return "a sticker";
    }

    /// <param name="random">Chooses the shape, its clip and the frame.</param>
    /// <param name="pixels">The still, [64, 64, 3].</param>
    /// <param name="first">Whether it is the first frame of its clip; else any.</param>
    /// <param name="moving">Whether the caption tells the motion.</param>
    /// <param name="placed">Whether the caption tells the place.</param>
    private static string Shape(Random random, byte[] pixels, bool first, bool moving, bool placed)
    {
        var combination = ShapeSpec.Trained[random.Next(ShapeSpec.Trained.Count)];
        var place = ShapeClip.Sample(random, combination).Places[first ? 0 : random.Next(ShapeSpec.FrameCount)];
        ShapeRenderer.Draw(pixels, combination, place.CentreX, place.CentreY, place.Radius);
        string caption = moving ? combination.Caption : $"a {combination.ColourName} {combination.ShapeName}";
        return placed ? $"{caption} {Words.PlaceOf(place.CentreX / ShapeSpec.Width, place.CentreY / ShapeSpec.Height)}" : caption;
    }
}
