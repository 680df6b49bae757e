using Microsoft.ML.Mobius.Samples.Shapes;

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
            return Shape(random, pixels);
        Drawings.Draw(random, pixels, ImageSource.Size, ImageSource.Size);
        return "";
    }

    /// <summary>For the text-to-image model: shapes, and one free drawing in ten, captioned as a sticker.</summary>
    public static string ForTextToImage(Random random, byte[] pixels)
    {
        if (random.Next(10) > 0)
            return Shape(random, pixels);
        Drawings.Draw(random, pixels, ImageSource.Size, ImageSource.Size);
        return "a sticker";
    }

    /// <summary>
    /// A shape, caught as a photograph catches a moving thing: with room ahead of it. So every second frame is the first of its clip, and the motion
    /// words of a caption say something about the still. One caption in four has none.
    /// </summary>
    private static string Shape(Random random, byte[] pixels)
    {
        var combination = ShapeSpec.Trained[random.Next(ShapeSpec.Trained.Count)];
        var clip = ShapeClip.Sample(random, combination);
        int frame = random.Next(2) == 0 ? 0 : random.Next(ShapeSpec.FrameCount);
        var place = clip.Places[frame];
        ShapeRenderer.Draw(pixels, combination, place.CentreX, place.CentreY, place.Radius);
        return random.Next(4) == 0 ? $"a {combination.ColourName} {combination.ShapeName}" : combination.Caption;
    }
}
