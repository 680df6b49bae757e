using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Legends;
using OxyPlot.Series;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>Draws the efficiency on paper against the number of devices: a plot per link, a colour per layout.</summary>
internal static class ScalingPlot
{
    private const int Width = 420, Height = 330, MostDevices = 1024;

    public static void Write(string path, IReadOnlyList<LayoutBytes> layouts, IReadOnlyList<Link> links, double stepSeconds)
        => Plots.Write(path, [[.. links.Select((link, i) => Plot(link, layouts, stepSeconds, showsLayouts: i == 0))]], Width, _ => Height);

    private static PlotModel Plot(Link link, IReadOnlyList<LayoutBytes> layouts, double stepSeconds, bool showsLayouts)
    {
        var plot = new PlotModel { Title = FormattableString.Invariant($"efficiency, {link.Name}, {stepSeconds} s per step"), TitleFontSize = 12, TitleFontWeight = FontWeights.Normal };
        if (showsLayouts)
            plot.Legends.Add(new Legend { LegendPosition = LegendPosition.LeftBottom, LegendFontSize = 11, LegendBackground = OxyColors.White });
        plot.Axes.Add(new LogarithmicAxis { Position = AxisPosition.Bottom, Title = "devices", Base = 2, MajorGridlineStyle = LineStyle.Dot, StringFormat = "0" });
        plot.Axes.Add(new LinearAxis { Position = AxisPosition.Left, Minimum = 0, Maximum = 1.05, MajorGridlineStyle = LineStyle.Dot, StringFormat = "0%" });
        foreach (var (i, layout) in layouts.Index())
        {
            var line = new LineSeries { Title = layout.Name, Color = Plots.Colour(i) };
            for (int devices = 1; devices <= MostDevices; devices *= 2)
                line.Points.Add(new DataPoint(devices, stepSeconds / ScalingBench.StepSeconds(devices, stepSeconds, layout.Bytes, link)));
            plot.Series.Add(line);
        }
        return plot;
    }
}
