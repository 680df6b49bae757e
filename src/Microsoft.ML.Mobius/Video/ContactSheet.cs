using Microsoft.ML.Mobius.Files;
using SkiaSharp;

namespace Microsoft.ML.Mobius.Video;

/// <summary>One row of a contact sheet.</summary>
/// <param name="Caption">The text beside the frames, as a rule the prompt.</param>
/// <param name="Clip">The frames, from left to right.</param>
public sealed record ContactSheetRow(string Caption, VideoClip Clip);

/// <summary>Draws clips as one picture: a row per clip with its caption on the left, a column per frame.</summary>
public static class ContactSheet
{
    private const int CaptionWidth = 180, Gap = 4, FontSize = 14;
    private static readonly SKColor s_separator = new(0xDD, 0xDD, 0xDD);

    /// <summary>Writes the rows as a PNG file, replacing the file if there is one. The folder is made if it is missing.</summary>
    /// <remarks>
    /// White ground, rows in the order of the list, thin lines between them; clips may differ in size and length. Captions are set in the
    /// system's default typeface and broken at spaces; what does not fit beside the frames makes the row taller. On a system without any
    /// font there is nothing to set them in: the caption column is left out then.
    /// </remarks>
    /// <param name="path">The file; ends in .png.</param>
    /// <param name="rows">At least one row.</param>
    /// <param name="scale">Every pixel becomes a square of this many, 1..64; the default is 2.</param>
    /// <exception cref="ArgumentException">There is no row, the path does not end in .png, or the scale is out of its range.</exception>
    /// <exception cref="IOException">The file or its folder cannot be written.</exception>
    public static void Write(string path, IReadOnlyList<ContactSheetRow> rows, int scale = 2)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(path);
        ArgumentNullException.ThrowIfNull(rows);
        if (rows.Count == 0)
            throw new ArgumentException("A contact sheet needs at least one row.", nameof(rows));
        if (scale is < 1 or > 64)
            throw new ArgumentOutOfRangeException(nameof(scale), scale, "Expected 1..64.");
        if (!Path.GetExtension(path).Equals(".png", StringComparison.OrdinalIgnoreCase))
            throw new ArgumentException($"'{path}' does not end in .png.", nameof(path));

        using var text = new SKPaint { Typeface = SKTypeface.Default, TextSize = FontSize, Color = SKColors.Black, IsAntialias = true };
        bool canWrite = text.Typeface.GlyphCount > 0;
        float lineHeight = text.FontSpacing;
        var captions = rows.Select(row => canWrite ? Wrap(row.Caption, text) : []).ToArray();
        var heights = rows.Select((row, i) =>
            Math.Max(row.Clip.Height * scale, (int)Math.Ceiling(captions[i].Count * lineHeight)) + 2 * Gap).ToArray();
        int left = canWrite ? CaptionWidth + 2 * Gap : Gap;
        int width = left + rows.Max(row => row.Clip.FrameCount * (row.Clip.Width * scale + Gap));

        using var sheet = new SKBitmap(new SKImageInfo(width, heights.Sum() + rows.Count - 1, SKColorType.Rgba8888, SKAlphaType.Opaque));
        using var canvas = new SKCanvas(sheet);
        using var line = new SKPaint { Color = s_separator };
        canvas.Clear(SKColors.White);
        for (int i = 0, top = 0; i < rows.Count; top += heights[i++] + 1)
        {
            for (int n = 0; n < captions[i].Count; n++)
                canvas.DrawText(captions[i][n], Gap, top + Gap - text.FontMetrics.Ascent + n * lineHeight, text);
            DrawFrames(canvas, rows[i].Clip, left, top + Gap, scale);
            if (i < rows.Count - 1)
                canvas.DrawRect(0, top + heights[i], width, 1, line);
        }
        canvas.Flush();
        using var png = sheet.Encode(SKEncodedImageFormat.Png, quality: 100);
        FileAside.Write(path, aside =>
        {
            using var file = File.Create(aside);
            png.SaveTo(file);
        });
    }

    private static void DrawFrames(SKCanvas canvas, VideoClip clip, int left, int top, int scale)
    {
        using var bitmap = new SKBitmap(new SKImageInfo(clip.Width, clip.Height, SKColorType.Rgba8888, SKAlphaType.Opaque));
        var pixels = new SKColor[clip.Width * clip.Height];
        for (int k = 0; k < clip.FrameCount; k++)
        {
            var frame = clip.Frame(k);
            for (int i = 0; i < pixels.Length; i++)
                pixels[i] = new SKColor(frame[i * 3], frame[i * 3 + 1], frame[i * 3 + 2]);
            bitmap.Pixels = pixels;
            int x = left + k * (clip.Width * scale + Gap);
            canvas.DrawBitmap(bitmap, SKRect.Create(x, top, clip.Width * scale, clip.Height * scale));     // no filter: nearest pixel
        }
    }

    private static List<string> Wrap(string caption, SKPaint text)
    {
        var lines = new List<string>();
        foreach (string word in caption.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries))
        {
            if (lines.Count > 0 && text.MeasureText(lines[^1] + " " + word) <= CaptionWidth)
            {
                lines[^1] += " " + word;
                continue;
            }
            string rest = word;
            for (int fits; (fits = (int)text.BreakText(rest, CaptionWidth)) < rest.Length; rest = rest[Math.Max(1, fits)..])
                lines.Add(rest[..Math.Max(1, fits)]);       // a word wider than the column is broken where it must
            lines.Add(rest);
        }
        return lines;
    }
}
