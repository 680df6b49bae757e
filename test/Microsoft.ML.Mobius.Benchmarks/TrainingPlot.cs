using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Series;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>Draws memory and time of a training step: a row per size, a bar per arm, in orange the trainer's defaults.</summary>
internal static class TrainingPlot
{
    private const int Width = 540, HeightOfBar = 36, HeightOfRest = 90;

    public static void Write(string path, IReadOnlyList<TrainingCost> rows)
    {
        var sizes = rows.GroupBy(row => row.Size).ToArray();
        Plots.Write(path,
        [
            .. sizes.Select(size => new[]
            {
                Plot($"{size.Key}: peak memory, MiB", size, "{0:0}", row => row.PeakBytes / (double)(1 << 20)),
                Plot($"{size.Key}: processor seconds per step", size, "{0:0.00}", row => row.CpuSeconds),
            }),
        ], Width, i => HeightOfRest + HeightOfBar * sizes[i].Count());
    }

    private static PlotModel Plot(string title, IEnumerable<TrainingCost> arms, string format, Func<TrainingCost, double> cost)
    {
        var plot = new PlotModel { Title = title, TitleFontSize = 13, TitleFontWeight = FontWeights.Normal };
        var names = new CategoryAxis { Position = AxisPosition.Left, StartPosition = 1, EndPosition = 0, GapWidth = 0.3, TickStyle = TickStyle.None };
        names.Labels.AddRange(arms.Select(row => row.Arm.Replace($"{Arm.Default}-", "... ", StringComparison.Ordinal)));
        plot.Axes.Add(names);
        plot.Axes.Add(new LinearAxis { Position = AxisPosition.Bottom, Minimum = 0, MaximumPadding = 0.18, MajorGridlineStyle = LineStyle.Dot });
        var bars = new BarSeries { LabelPlacement = LabelPlacement.Outside, LabelFormatString = format };
        bars.Items.AddRange(arms.Select(row => new BarItem(cost(row)) { Color = Plots.Colour(row.Arm == Arm.Baseline ? 0 : row.Arm == Arm.Default ? 1 : 2) }));
        plot.Series.Add(bars);
        return plot;
    }
}
