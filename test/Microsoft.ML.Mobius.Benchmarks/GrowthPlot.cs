using Microsoft.ML.Mobius.Files;
using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Legends;
using OxyPlot.Series;
using OxyPlot.SkiaSharp;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>Draws cost against size, both logarithmic, so that a power law is a straight line: a colour per arm, a dash per axis.</summary>
internal static class GrowthPlot
{
    private const int Width = 900, Height = 600;

    private static readonly OxyColor[] s_colours = [OxyColors.Gray, OxyColors.SteelBlue, OxyColors.DarkOrange, OxyColors.SeaGreen, OxyColors.Purple];
    private static readonly (LineStyle Line, MarkerType Marker)[] s_dashes =
        [(LineStyle.Solid, MarkerType.Circle), (LineStyle.Dash, MarkerType.Square), (LineStyle.Dot, MarkerType.Triangle)];

    public static void Write(string path, string title, string unit, IReadOnlyList<GrowthPoint> points, Func<GrowthPoint, double> cost)
    {
        var plot = new PlotModel { Title = title, Background = OxyColors.White };
        plot.Legends.Add(new Legend { LegendPlacement = LegendPlacement.Outside, LegendPosition = LegendPosition.RightTop });
        plot.Axes.Add(new LogarithmicAxis { Position = AxisPosition.Bottom, Title = "times the smallest", Base = 2, MajorGridlineStyle = LineStyle.Dot });
        plot.Axes.Add(new LogarithmicAxis { Position = AxisPosition.Left, Title = unit, Base = 2, MajorGridlineStyle = LineStyle.Dot });
        foreach (var (colour, arm) in points.GroupBy(point => point.Arm).Index())
            foreach (var (dash, axis) in arm.GroupBy(point => point.Axis).Index())
            {
                var line = new LineSeries
                {
                    Title = $"{axis.Key}, {arm.Key}", Color = s_colours[colour % s_colours.Length], LineStyle = s_dashes[dash % s_dashes.Length].Line,
                    MarkerType = s_dashes[dash % s_dashes.Length].Marker, MarkerFill = s_colours[colour % s_colours.Length],
                };
                line.Points.AddRange(axis.Select(point => new DataPoint(point.Value / axis.First().Value, cost(point))));
                plot.Series.Add(line);
            }
        FileAside.Write(path, aside =>
        {
            using var file = File.Create(aside);
            new PngExporter { Width = Width, Height = Height, UseTextShaping = false }.Export(plot, file);
        });
    }
}
