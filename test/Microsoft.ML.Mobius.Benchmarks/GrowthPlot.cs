using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Legends;
using OxyPlot.Series;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>
/// Draws cost against frames, batch and width, all logarithmic, so that a power law is a straight line: a column per axis, a row per cost, a colour per arm; what the
/// trainer estimates of memory is dotted.
/// </summary>
internal static class GrowthPlot
{
    private const int Width = 360, Height = 330;

    private const double Mebibyte = 1 << 20;

    public static void Write(string path, IReadOnlyList<GrowthPoint> points)
    {
        var axes = points.GroupBy(point => point.Axis).ToArray();
        Plots.Write(path,
        [
            [.. axes.Select((axis, i) => Plot("processor seconds per step", axis, showsArms: i == 0, (point => point.CpuSeconds, LineStyle.Solid)))],
            [.. axes.Select(axis => Plot("peak memory, MiB (dotted: estimated)", axis, showsArms: false,
                (point => point.PeakBytes / Mebibyte, LineStyle.Solid), (point => point.EstimatedBytes / Mebibyte, LineStyle.Dot)))],
        ], Width, _ => Height);
    }

    private static PlotModel Plot(string title, IGrouping<string, GrowthPoint> axis, bool showsArms, params (Func<GrowthPoint, double> Of, LineStyle Style)[] costs)
    {
        var plot = new PlotModel { Title = title, TitleFontSize = 13, TitleFontWeight = FontWeights.Normal };
        if (showsArms)
            plot.Legends.Add(new Legend { LegendPosition = LegendPosition.LeftTop, LegendFontSize = 11, LegendBackground = OxyColors.White });
        plot.Axes.Add(Logarithmic(AxisPosition.Bottom, axis.Key));
        plot.Axes.Add(Logarithmic(AxisPosition.Left, null));
        foreach (var (colour, arm) in axis.GroupBy(point => point.Arm).Index())
            foreach (var (of, style) in costs)
            {
                bool solid = style == LineStyle.Solid;
                var line = new LineSeries
                {
                    Title = arm.Key, Color = Plots.Colour(colour), LineStyle = style, MarkerType = solid ? MarkerType.Circle : MarkerType.None,
                    MarkerFill = Plots.Colour(colour),
                };
                line.Points.AddRange(arm.Select(point => new DataPoint(point.Value, of(point))));
                plot.Series.Add(line);
            }
        return plot;
    }

    private static LogarithmicAxis Logarithmic(AxisPosition position, string? title) => new()
    {
        Position = position, Title = title, Base = 2, MajorGridlineStyle = LineStyle.Dot, StringFormat = "0.###", MinimumPadding = 0.05, MaximumPadding = 0.05,
    };
}
