using Microsoft.ML.Mobius.Files;
using OxyPlot;
using OxyPlot.SkiaSharp;
using SkiaSharp;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>What all plots have in common.</summary>
internal static class Plots
{
    private static readonly OxyColor[] s_colours =
        [OxyColors.Gray, OxyColors.DarkOrange, OxyColors.SteelBlue, OxyColors.SeaGreen, OxyColors.Purple, OxyColors.Firebrick, OxyColors.Goldenrod];

    public static OxyColor Colour(int i) => s_colours[i % s_colours.Length];

    /// <summary>Writes a PNG, whole or not at all.</summary>
    /// <param name="path">The file.</param>
    /// <param name="rows">Plots, which stand beside each other in rows of the same number.</param>
    /// <param name="width">Of one in pixels.</param>
    /// <param name="height">Of one in pixels, row by row.</param>
    public static void Write(string path, IReadOnlyList<PlotModel[]> rows, int width, Func<int, int> height) => FileAside.Write(path, aside =>
    {
        int[] heights = [.. Enumerable.Range(0, rows.Count).Select(height)];
        using var bitmap = new SKBitmap(width * rows[0].Length, heights.Sum());
        using var canvas = new SKCanvas(bitmap);
        canvas.Clear(SKColors.White);
        using var context = new SkiaRenderContext { RenderTarget = RenderTarget.PixelGraphic, SkCanvas = canvas, UseTextShaping = false };
        double top = 0;
        foreach (var (plots, tall) in rows.Zip(heights))
        {
            foreach (var (column, plot) in plots.Index())
            {
                ((IPlotModel)plot).Update(true);
                ((IPlotModel)plot).Render(context, new OxyRect(column * width, top, width, tall));
            }
            top += tall;
        }
        using var file = File.Create(aside);
        bitmap.Encode(file, SKEncodedImageFormat.Png, quality: 100);
    });
}
