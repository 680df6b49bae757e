using Microsoft.ML.Mobius.Training;
using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Legends;
using OxyPlot.Series;
using OxyPlot.SkiaSharp;

namespace Microsoft.ML.Mobius.Samples.MainJob;

/// <summary>Draws how the loss fell.</summary>
internal static class LossPlot
{
    private const int Width = 900, Height = 500;
    private const int Windows = 40;

    /// <summary>Writes a PNG: every step's loss faintly, its running mean, and the held-out loss as dots.</summary>
    public static void Write(string path, TrainingHistory history)
    {
        var plot = new PlotModel { Title = "Denoising loss", Background = OxyColors.White };
        plot.Legends.Add(new Legend
        {
            LegendPlacement = LegendPlacement.Outside, LegendPosition = LegendPosition.BottomCenter, LegendOrientation = LegendOrientation.Horizontal,
        });
        plot.Axes.Add(new LinearAxis { Position = AxisPosition.Bottom, Title = "step", Minimum = 0, MajorGridlineStyle = LineStyle.Dot });
        plot.Axes.Add(new LinearAxis { Position = AxisPosition.Left, Title = "mean squared error", Minimum = 0, MaximumPadding = 0.05, MajorGridlineStyle = LineStyle.Dot });
        plot.Series.Add(Line("one batch", history.Losses, OxyColor.FromAColor(70, OxyColors.SteelBlue), thickness: 1));
        plot.Series.Add(Line("running mean", RunningMean(history.Losses), OxyColors.SteelBlue, thickness: 2));
        if (history.HeldOut.Count > 0)
        {
            var heldOut = Line("clips held out", history.HeldOut, OxyColors.DarkOrange, thickness: 2);
            heldOut.MarkerType = MarkerType.Circle;
            heldOut.MarkerFill = OxyColors.DarkOrange;
            plot.Series.Add(heldOut);
        }

        string aside = path + ".tmp";
        using (var file = File.Create(aside))
            new PngExporter { Width = Width, Height = Height, UseTextShaping = false }.Export(plot, file);
        File.Move(aside, path, overwrite: true);
    }

    private static LineSeries Line(string title, IEnumerable<LossPoint> points, OxyColor colour, double thickness)
    {
        var line = new LineSeries { Title = title, Color = colour, StrokeThickness = thickness };
        line.Points.AddRange(points.Select(point => new DataPoint(point.Step, point.Loss)));
        return line;
    }

    // The mean of the last steps up to each; at the beginning of as many as there are.
    private static IEnumerable<LossPoint> RunningMean(IReadOnlyList<LossPoint> losses)
    {
        int window = Math.Max(1, losses.Count / Windows);
        double sum = 0;
        for (int i = 0; i < losses.Count; i++)
        {
            sum += losses[i].Loss - (i >= window ? losses[i - window].Loss : 0);
            yield return new LossPoint(losses[i].Step, sum / Math.Min(i + 1, window));
        }
    }
}
