using SkiaSharp;

namespace Microsoft.ML.Mobius.BaseModel;

/// <content>The parts that the motifs are put together from: outlines, paints and colours. Fill and Stroke dispose the path they are given.</content>
internal sealed partial class Sketch
{
    private static readonly float[] Sides = [-1, 1];

    private void Eyes(float apart, float y)
    {
        SKColor ink = Pick(Inks);
        int kind = random.Next(6);
        float rx = Between(2, 5), ry = rx * Between(0.8f, 1.7f), look = Between(-2, 2);
        bool brows = random.Next(2) == 0;
        foreach (float side in Sides)
        {
            float x = side * apart;
            int own = random.Next(12) == 0 ? random.Next(6) : kind;
            switch (own)
            {
                case 0 or 1: Fill(Oval(x, y, rx, ry), ink, outline: false, shaded: false); break;
                case 2:
                    Fill(Oval(x, y, rx * 1.8f, rx * 1.8f), SKColors.White, outline: random.Next(2) == 0, shaded: false);
                    Fill(Oval(x + look, y, rx * 0.8f, rx * 0.8f), ink, outline: false, shaded: false);
                    break;
                case 3:
                    Fill(Oval(x, y, rx * 1.5f, rx * 1.6f), ink, outline: false, shaded: false);
                    Fill(Oval(x - rx * 0.5f, y - rx * 0.5f, rx * 0.5f, rx * 0.5f), SKColors.White, outline: false, shaded: false);
                    break;
                case 4: Stroke(Bow(x, y, rx * 1.5f, Between(-4, 4)), ink, Between(1.5f, 2.8f)); break;
                default:
                    canvas.Save();
                    canvas.Translate(x, y);
                    canvas.Scale(0.25f);
                    Fill(random.Next(2) == 0 ? Heart(22) : Star(5, 28, 0.45f), new SKColor(235, 50, 60), outline: false, shaded: false);
                    canvas.Restore();
                    break;
            }
            if (brows)
                Stroke(Line(x - 4, y - 9 + side * look, x + 4, y - 9 - side * look), ink, Between(1.2f, 2.4f));
        }
    }

    private void Mouth(float y)
    {
        SKColor ink = Pick(Inks);
        float half = Between(4, 15);
        switch (random.Next(6))
        {
            case 0 or 1: Stroke(Bow(0, y, half, Between(-8, 9)), ink, Between(1.4f, 2.8f)); break;
            case 2: Fill(Oval(0, y, half * 0.4f, Between(2, 7)), ink, outline: false, shaded: false); break;
            case 3:
                Fill(Grin(y, half, Between(6, 13)), ink, outline: false, shaded: false);
                Fill(Box(-half * 0.8f, y - 1, half * 1.6f, Between(1.5f, 4), 1), SKColors.White, outline: false, shaded: false);
                break;
            case 4:
                Fill(Grin(y, half, Between(6, 13)), ink, outline: false, shaded: false);
                Fill(Oval(Between(-3, 3), y + Between(4, 8), half * 0.5f, Between(3, 7)), new SKColor(245, 80, 130), outline: false, shaded: false);
                break;
            default: Stroke(Line(-half, y + Between(-2, 2), half, y + Between(-2, 2)), ink, Between(1.4f, 2.8f)); break;
        }
    }

    private void Glasses()
    {
        SKColor frame = Pick(Inks);
        float r = Between(7, 10);
        bool dark = random.Next(2) == 0;
        foreach (float side in Sides)
        {
            SKPath Lens() => Box(side * 11 - r, -4 - r, 2 * r, 2 * r, r * 0.6f);
            if (dark)
                Fill(Lens(), frame, outline: false, shaded: true);
            Stroke(Lens(), frame, Between(1.5f, 3));
        }
        Stroke(Line(-4, -5, 4, -5), frame, 2);
    }

    private void Fill(SKPath path, SKColor colour, bool outline, bool shaded, SKColor? line = null)
    {
        using SKPath owned = path;
        if (random.Next(14) == 0)
        {
            using SKPaint shadow = Flat(new SKColor(0, 0, 0, 60));
            using SKMaskFilter blur = SKMaskFilter.CreateBlur(SKBlurStyle.Normal, 1.5f);
            shadow.MaskFilter = blur;
            canvas.Save();
            canvas.Translate(0, 2);
            canvas.DrawPath(path, shadow);
            canvas.Restore();
        }
        SKColor other = random.Next(3) == 0 ? Lighter(colour, Between(0.1f, 0.5f)) : Darker(colour, Between(0.78f, 0.96f));
        using (SKPaint paint = shaded && random.Next(4) > 0 ? Graded(colour, other, path.Bounds) : Flat(colour))
            canvas.DrawPath(path, paint);
        if (!outline)
            return;
        using SKPaint pen = Pen(line ?? Darker(colour, Between(0.3f, 0.8f)), Between(0.7f, 2));
        canvas.DrawPath(path, pen);
    }

    private void Stroke(SKPath path, SKColor colour, float width)
    {
        using SKPath owned = path;
        using SKPaint pen = Pen(colour, width);
        canvas.DrawPath(path, pen);
    }

    private void Soft(float x, float y, float r, SKColor colour)
    {
        using SKShader shader = SKShader.CreateRadialGradient(new(x, y), r, [colour, colour.WithAlpha(0)], SKShaderTileMode.Clamp);
        using var paint = new SKPaint { Shader = shader };
        canvas.DrawRect(x - r, y - r, 2 * r, 2 * r, paint);
    }

    private void Shine(float x, float y, float r)
    {
        if (random.Next(2) == 0)
            Fill(Oval(x, y, r, r * Between(0.4f, 0.9f)), new SKColor(255, 255, 255, (byte)random.Next(60, 200)), outline: false, shaded: false);
    }

    private static SKPaint Flat(SKColor colour) => new() { Color = colour, IsAntialias = true };

    private static SKPaint Pen(SKColor colour, float width) => new()
    {
        Color = colour, IsAntialias = true, IsStroke = true, StrokeWidth = width, StrokeCap = SKStrokeCap.Round, StrokeJoin = SKStrokeJoin.Round,
    };

    private SKPaint Graded(SKColor first, SKColor last, SKRect bounds)
    {
        float radius = Math.Max(1, Math.Max(bounds.Width, bounds.Height) / 2);
        using SKShader shader = random.Next(2) == 0
            ? SKShader.CreateRadialGradient(new(bounds.MidX + radius * Between(-0.5f, 0.5f), bounds.MidY + radius * Between(-0.5f, 0.5f)),
                radius * Between(1, 1.8f), [first, last], SKShaderTileMode.Clamp)
            : SKShader.CreateLinearGradient(new(bounds.MidX + radius * Between(-1, 1), bounds.Top), new(bounds.MidX + radius * Between(-1, 1), bounds.Bottom),
                [first, last], SKShaderTileMode.Clamp);
        return new SKPaint { Shader = shader, IsAntialias = true };
    }

    private static SKPath Oval(float x, float y, float rx, float ry)
    {
        var path = new SKPath();
        path.AddOval(new SKRect(x - rx, y - ry, x + rx, y + ry));
        return path;
    }

    private static SKPath Box(float x, float y, float width, float height, float corner)
    {
        var path = new SKPath();
        path.AddRoundRect(new SKRect(x, y, x + width, y + height), corner, corner);
        return path;
    }

    // A closed smooth outline around an oval whose radius wobbles by the given share.
    private SKPath Blob(float x, float y, float rx, float ry, float wobble)
    {
        const int count = 8;
        Span<SKPoint> points = stackalloc SKPoint[count];
        for (int i = 0; i < count; i++)
        {
            (float sin, float cos) = MathF.SinCos(i * MathF.Tau / count);
            float r = 1 + Between(-wobble, wobble);
            points[i] = new(x + rx * r * cos, y + ry * r * sin);
        }
        var path = new SKPath();
        path.MoveTo(Middle(points[count - 1], points[0]));
        for (int i = 0; i < count; i++)
            path.QuadTo(points[i], Middle(points[i], points[(i + 1) % count]));
        path.Close();
        return path;
    }

    private SKPath Polygon(int corners, float x, float y, float r, float wobble)
    {
        var path = new SKPath();
        float turn = Between(0, MathF.Tau);
        for (int i = 0; i < corners; i++)
        {
            (float sin, float cos) = MathF.SinCos(turn + i * MathF.Tau / corners);
            float own = r * (1 + Between(-wobble, wobble));
            if (i == 0)
                path.MoveTo(x + own * cos, y + own * sin);
            else
                path.LineTo(x + own * cos, y + own * sin);
        }
        path.Close();
        return path;
    }

    private static SKPath Star(int points, float r, float inner)
    {
        var path = new SKPath();
        for (int i = 0; i < 2 * points; i++)
        {
            (float sin, float cos) = MathF.SinCos(i * MathF.PI / points - MathF.PI / 2);
            float own = i % 2 == 0 ? r : r * inner;
            if (i == 0)
                path.MoveTo(own * cos, own * sin);
            else
                path.LineTo(own * cos, own * sin);
        }
        path.Close();
        return path;
    }

    private SKPath Heart(float r)
    {
        float dip = Between(0.2f, 0.45f), width = Between(1.1f, 1.4f);
        var path = new SKPath();
        path.MoveTo(0, r);
        path.CubicTo(-r * width * 1.3f, r * 0.1f, -r * width * 0.7f, -r * 1.2f, 0, -r * dip);
        path.CubicTo(r * width * 0.7f, -r * 1.2f, r * width * 1.3f, r * 0.1f, 0, r);
        path.Close();
        return path;
    }

    private static SKPath Drop(float x, float y, float r)
    {
        var path = new SKPath();
        path.MoveTo(x, y - r);
        path.CubicTo(x + r * 0.3f, y - r * 0.3f, x + r * 1.1f, y + r, x, y + r);
        path.CubicTo(x - r * 1.1f, y + r, x - r * 0.3f, y - r * 0.3f, x, y - r);
        path.Close();
        return path;
    }

    private static SKPath Grin(float y, float half, float depth)
    {
        var path = new SKPath();
        path.MoveTo(-half, y);
        path.LineTo(half, y);
        path.QuadTo(half * 0.7f, y + depth, 0, y + depth);
        path.QuadTo(-half * 0.7f, y + depth, -half, y);
        path.Close();
        return path;
    }

    private static SKPath Line(float x0, float y0, float x1, float y1)
    {
        var path = new SKPath();
        path.MoveTo(x0, y0);
        path.LineTo(x1, y1);
        return path;
    }

    private static SKPath Bow(float x, float y, float half, float bend)
    {
        var path = new SKPath();
        path.MoveTo(x - half, y);
        path.QuadTo(x, y + bend, x + half, y);
        return path;
    }

    private SKPath Curve(float x, float y, float length)
    {
        var path = new SKPath();
        path.MoveTo(x, y);
        path.CubicTo(Near(x), Near(y), Near(x), Near(y), Near(x), Near(y));
        return path;

        float Near(float value) => value + Between(-length, length) * 0.8f;
    }

    // A short line in any direction, a little curved.
    private SKPath Bend(float x, float y, float length)
    {
        (float sin, float cos) = MathF.SinCos(Between(0, MathF.PI));
        float bend = Between(-0.3f, 0.3f) * length;
        var path = new SKPath();
        path.MoveTo(x - length / 2 * cos, y - length / 2 * sin);
        path.QuadTo(x - bend * sin, y + bend * cos, x + length / 2 * cos, y + length / 2 * sin);
        return path;
    }

    private SKPath Arc(float x, float y, float r)
    {
        var path = new SKPath();
        path.AddArc(new SKRect(x - r, y - r, x + r, y + r), Between(0, 360), Between(60, 330));
        return path;
    }

    // Half of the colours are saturated; the rest are dark, pale, skin-like or grey.
    private SKColor Any() => random.Next(20) switch
    {
        < 9 => SKColor.FromHsv(Between(0, 360), Between(60, 100), Between(75, 100)),
        < 11 => SKColor.FromHsv(Between(0, 360), Between(40, 90), Between(20, 60)),
        < 14 => SKColor.FromHsv(Between(0, 360), Between(10, 45), Between(85, 100)),
        14 => Pick(Yellows),
        < 17 => Pick(Skins),
        17 => Pick(Inks),
        _ => Grey(),
    };

    private SKColor Grey() => SKColor.FromHsv(Between(190, 230), Between(0, 20), Between(25, 98));

    private static SKColor Darker(SKColor colour, float factor) =>
        new((byte)(colour.Red * factor), (byte)(colour.Green * factor), (byte)(colour.Blue * factor), colour.Alpha);

    private static SKColor Lighter(SKColor colour, float share) =>
        new((byte)(colour.Red + (255 - colour.Red) * share), (byte)(colour.Green + (255 - colour.Green) * share),
            (byte)(colour.Blue + (255 - colour.Blue) * share), colour.Alpha);

    private T Pick<T>(T[] among) => among[random.Next(among.Length)];

    private float Between(float low, float high) => low + random.NextSingle() * (high - low);

    private static SKPoint Middle(SKPoint a, SKPoint b) => new((a.X + b.X) / 2, (a.Y + b.Y) / 2);
}
