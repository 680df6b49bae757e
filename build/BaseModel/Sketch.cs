using SkiaSharp;

namespace Microsoft.ML.Mobius.BaseModel;

/// <summary>The motifs of <see cref="Drawings"/>, drawn on a canvas of 64 x 64 units around the middle; everything about them is random.</summary>
internal sealed partial class Sketch(SKCanvas canvas, Random random)
{
    /// <summary>Width and height of the canvas in the sketch's own units.</summary>
    public const float Size = 64;

    private static readonly SKColor[] Yellows = [new(255, 204, 50), new(252, 194, 27), new(253, 216, 53), new(255, 183, 28)];
    private static readonly SKColor[] Skins =
        [new(247, 222, 206), new(243, 210, 162), new(229, 190, 150), new(213, 171, 136), new(175, 126, 87), new(124, 83, 62), new(90, 64, 56), new(66, 48, 48)];
    private static readonly SKColor[] Inks = [new(66, 36, 16), new(40, 30, 30), new(20, 20, 24), new(84, 50, 20), new(60, 64, 70)];

    /// <summary>Fills the background: white for seven images in ten, else a colour or a gradient.</summary>
    public void Background()
    {
        canvas.Clear(SKColors.White);
        int kind = random.Next(20);
        if (kind < 14)
            return;
        using SKPaint paint = kind < 16 ? Flat(Any()) : Graded(Any(), Any(), new SKRect(0, 0, Size, Size));
        canvas.DrawRect(0, 0, Size, Size, paint);
    }

    /// <summary>Moves, turns and sizes what is drawn until <see cref="End"/>; smaller where several motifs share the image.</summary>
    public void Begin(int count)
    {
        canvas.Save();
        float scale = count == 1 ? Between(0.85f, 1.12f) : Between(0.45f, 0.8f);
        float free = Math.Max(0, 1 - scale) * Size / 2 + 2;
        canvas.Translate(Size / 2 + Between(-free, free), Size / 2 + Between(-free, free));
        if (random.Next(2) == 0)
            canvas.RotateDegrees(Between(-35, 35));
        canvas.Scale(scale * (random.Next(4) == 0 ? -1 : 1), scale * Between(0.9f, 1.1f));
    }

    /// <summary>Ends what <see cref="Begin"/> began.</summary>
    public void End() => canvas.Restore();

    /// <summary>A round face: eyes, brows, mouth, and sometimes cheeks, tears, glasses, a tongue or a hat.</summary>
    public void Face()
    {
        SKColor skin = random.Next(5) switch { < 4 => Pick(Yellows), _ => Any() };
        float rx = Between(26, 30), ry = rx * Between(0.95f, 1.03f);
        Fill(Oval(0, 0, rx, ry), skin, outline: random.Next(3) == 0, shaded: true);
        if (random.Next(4) == 0)
            foreach (float side in Sides)
                Soft(side * Between(14, 18), Between(5, 9), Between(3, 6), new SKColor(235, 80, 60, 150));
        Eyes(Between(8, 12), Between(-8, -2));
        Mouth(Between(7, 13));
        switch (random.Next(10))
        {
            case 0: Glasses(); break;
            case 1:
                Fill(Drop(Between(-18, 18), Between(2, 12), Between(4, 8)), new SKColor(80, 180, 250), outline: false, shaded: true);
                break;
            case 2:
                Fill(Blob(0, -26, Between(16, 28), Between(6, 10), 0.1f), Any(), outline: true, shaded: true);
                break;
            case 3:
                Fill(Blob(Between(-15, 15), 18, Between(8, 12), Between(6, 10), 0.2f), Pick(Yellows), outline: true, shaded: true);
                break;
            case 4:
                Hair();
                break;
        }
    }

    private void Hair()
    {
        SKColor colour = random.Next(2) == 0 ? Pick(Inks) : Any();
        for (int i = random.Next(6, 16); i > 0; i--)
            Stroke(Bend(Between(-22, 22), Between(-28, -18), Between(8, 18)), Darker(colour, Between(0.7f, 1)), Between(1.5f, 4));
    }

    /// <summary>A palm with fingers, and often a wrist.</summary>
    public void Hand()
    {
        SKColor skin = random.Next(3) == 0 ? Pick(Yellows) : Pick(Skins);
        SKColor line = Darker(skin, Between(0.45f, 0.75f));
        int hands = random.Next(4) == 0 ? 2 : 1;
        for (int hand = 0; hand < hands; hand++)
        {
            canvas.Save();
            if (hands == 2)
            {
                canvas.Translate(hand == 0 ? -15 : 15, 0);
                canvas.Scale(hand == 0 ? 0.7f : -0.7f, 0.7f);
            }
            canvas.RotateDegrees(Between(-50, 50));
            float palm = Between(13, 19), finger = Between(3, 5);
            if (random.Next(2) == 0)
                Fill(Box(-palm * 0.6f, palm * 0.3f, palm * 1.2f, Between(20, 30), 2), random.Next(4) == 0 ? Any() : skin, outline: true, shaded: false, line: line);
            int fingers = random.Next(1, 6);
            for (int i = 0; i < fingers; i++)
            {
                float angle = (i - (fingers - 1) / 2f) * Between(14, 22), length = palm + Between(4, 16);
                canvas.Save();
                canvas.RotateDegrees(angle);
                Fill(Box(-finger, -length, 2 * finger, length, finger), skin, outline: true, shaded: false, line: line);
                canvas.Restore();
            }
            Fill(Blob(0, 2, palm, palm * Between(0.8f, 1.2f), 0.12f), skin, outline: random.Next(3) > 0, shaded: true, line: line);
            for (int i = random.Next(1, 6); i > 0; i--)
                Stroke(Bend(Between(-palm, palm) * 0.7f, Between(-8, 8), Between(5, 14)), line, Between(0.8f, 1.8f));
            canvas.Restore();
        }
    }

    /// <summary>A body and a head of soft blobs with ears, legs, eyes, a tail, stripes or spots.</summary>
    public void Creature()
    {
        canvas.Scale(Between(1.1f, 1.4f));
        SKColor coat = random.Next(3) == 0 ? Pick(Skins) : Any(), second = random.Next(2) == 0 ? Lighter(coat, 0.4f) : Any();
        float headX = Between(-12, 12), headY = Between(-16, -4), head = Between(10, 18);
        if (random.Next(4) > 0)
        {
            for (int i = random.Next(5); i > 0; i--)
                Fill(Box(Between(-18, 14), 10, Between(4, 8), Between(12, 18), 3), Darker(coat, 0.85f), outline: false, shaded: false);
            if (random.Next(2) == 0)
                Stroke(Curve(Between(10, 18), Between(0, 10), Between(14, 30)), coat, Between(2, 5));
            Fill(Blob(Between(-4, 4), 10, Between(14, 22), Between(9, 16), 0.15f), coat, outline: false, shaded: true);
            Fill(Blob(Between(-4, 4), 13, Between(6, 12), Between(5, 9), 0.15f), second, outline: false, shaded: false);
        }
        foreach (float side in Sides)
        {
            SKPath ear = random.Next(2) == 0 ? Oval(headX + side * head * 0.8f, headY - head * 0.7f, head * 0.35f, head * Between(0.3f, 0.8f))
                : Polygon(3, headX + side * head * 0.75f, headY - head * 0.75f, head * 0.5f, 0.2f);
            Fill(ear, coat, outline: false, shaded: false);
        }
        Fill(Blob(headX, headY, head, head * Between(0.8f, 1.1f), 0.08f), coat, outline: random.Next(4) == 0, shaded: true);
        for (int i = random.Next(6); i > 0; i--)
            Fill(Oval(headX + Between(-head, head) * 0.7f, headY + Between(-head, head) * 0.7f, Between(1, 3), Between(0.7f, 2)), second, outline: false, shaded: false);
        Fill(Oval(headX, headY + head * 0.45f, head * Between(0.3f, 0.6f), head * Between(0.2f, 0.4f)), second, outline: false, shaded: false);
        canvas.Save();
        canvas.Translate(headX, headY);
        canvas.Scale(head / 26);
        Eyes(Between(8, 13), Between(-6, 0));
        Mouth(Between(8, 14));
        canvas.Restore();
    }

    /// <summary>A heart, star, burst, ring, arrow or drop, sometimes on a rounded board.</summary>
    public void Sign()
    {
        if (random.Next(3) == 0)
            Fill(Box(-29, -29, 58, 58, Between(1, 16)), Any(), outline: random.Next(3) == 0, shaded: true);
        float r = Between(16, 28);
        int count = random.Next(4) == 0 ? random.Next(2, 4) : 1;
        for (int i = 0; i < count; i++)
        {
            SKColor colour = random.Next(6) == 0 ? SKColors.White : Any();
            switch (random.Next(6))
            {
                case 0 or 1: Fill(Heart(r), colour, outline: random.Next(4) == 0, shaded: true); break;
                case 2: Fill(Star(random.Next(4, 9), r, Between(0.35f, 0.7f)), colour, outline: random.Next(3) == 0, shaded: true); break;
                case 3: Stroke(Oval(0, 0, r, r * Between(0.6f, 1)), colour, Between(2, 9)); break;
                case 4: Fill(Drop(0, 0, r), colour, outline: false, shaded: true); break;
                default:
                    Stroke(Line(-r, Between(-8, 8), r * 0.6f, 0), colour, Between(3, 9));
                    Fill(Polygon(3, r * 0.7f, 0, Between(8, 14), 0), colour, outline: false, shaded: false);
                    break;
            }
            Shine(r * 0.45f, -r * 0.5f, Between(2, 6));
            canvas.Translate(Between(-12, 12), Between(-12, 12));
            r *= Between(0.4f, 0.8f);
        }
    }

    /// <summary>Something made: bodies of boxes, wheels, windows, stems; food, vehicles and tools look like it.</summary>
    public void Thing()
    {
        canvas.Scale(Between(1, 1.3f));
        SKColor main = Any();
        for (int i = random.Next(2, 5); i > 0; i--)
        {
            float w = Between(12, 52), h = Between(8, 40);
            Fill(Box(-w / 2 + Between(-6, 6), -h / 2 + Between(-10, 10), w, h, Between(0, 12)), i == 1 ? main : Any(), outline: random.Next(4) == 0, shaded: true);
        }
        for (int i = random.Next(3, 10); i > 0; i--)
        {
            float x = Between(-24, 20), y = Between(-18, 14);
            SKPath part = random.Next(3) == 0 ? Oval(x, y, Between(2, 8), Between(2, 8)) : Box(x, y, Between(3, 16), Between(2, 10), Between(0, 3));
            Fill(part, random.Next(2) == 0 ? Lighter(main, 0.5f) : Any(), outline: false, shaded: random.Next(3) == 0);
        }
        if (random.Next(2) == 0)
        {
            float r = Between(5, 9), apart = Between(10, 20);
            foreach (float side in Sides)
            {
                Fill(Oval(side * apart, 16, r, r), Pick(Inks), outline: false, shaded: false);
                Fill(Oval(side * apart, 16, r * 0.5f, r * 0.5f), Grey(), outline: false, shaded: true);
            }
        }
        for (int i = random.Next(4); i > 0; i--)
            Stroke(Curve(Between(-20, 10), Between(-20, 20), Between(10, 40)), random.Next(2) == 0 ? Darker(main, 0.6f) : Any(), Between(0.8f, 4));
    }

    /// <summary>Lines like writing, signs and arcs.</summary>
    public void Strokes()
    {
        SKColor ink = random.Next(2) == 0 ? Pick(Inks) : Any();
        float width = Between(1, 6);
        for (int i = random.Next(3, 10); i > 0; i--)
        {
            float x = Between(-28, 20), y = Between(-28, 20), size = Between(6, 28);
            SKPath path = random.Next(4) switch
            {
                0 => Line(x, y, x + size, y),
                1 => Line(x, y, x, y + size),
                2 => Curve(x, y, size),
                _ => Arc(x, y, size / 2),
            };
            Stroke(path, random.Next(4) == 0 ? Any() : ink, width * Between(0.8f, 1.2f));
        }
    }

    /// <summary>Many overlapping parts of every kind.</summary>
    public void Pile()
    {
        for (int i = random.Next(5, 22); i > 0; i--)
        {
            float x = Between(-26, 26), y = Between(-26, 26), r = Between(2, 20) * Between(0.5f, 1);
            SKPath path = random.Next(5) switch
            {
                0 => Blob(x, y, r, r * Between(0.5f, 1.5f), 0.3f),
                1 => Polygon(random.Next(3, 8), x, y, r, 0.3f),
                2 => Box(x - r, y - r, 2 * r, r * Between(0.5f, 2), Between(0, r)),
                3 => Oval(x, y, r, r * Between(0.3f, 1)),
                _ => Curve(x, y, 2 * r),
            };
            Fill(path, Any(), outline: random.Next(3) == 0, shaded: random.Next(2) == 0);
        }
    }

    /// <summary>Small sparks, drops and motion lines around a motif.</summary>
    public void Accents()
    {
        SKColor colour = random.Next(2) == 0 ? Grey() : Any();
        for (int i = random.Next(2, 7); i > 0; i--)
        {
            float angle = Between(0, MathF.Tau), near = Between(22, 27), far = near + Between(2, 7);
            (float sin, float cos) = MathF.SinCos(angle);
            Stroke(Line(near * cos, near * sin, far * cos, far * sin), colour, Between(0.8f, 2));
        }
    }
}
