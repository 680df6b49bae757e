using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Legends;
using OxyPlot.Series;
using Tensorboard;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>Draws the curves of one training from what it wrote for TensorBoard.</summary>
internal static class CurvesPlot
{
    private const int Width = 540, Height = 260, MeanOf = 30;

    private static readonly (string Title, string[] Tags)[] s_plots =
    [
        ("loss: of a batch, its mean of 30, of clips held out", ["train/loss", "held-out/loss"]),
        ("loss of clips held out, by noise, from the least (1) on",
            ["held-out/loss_quarter_1", "held-out/loss_quarter_2", "held-out/loss_quarter_3", "held-out/loss_quarter_4"]),
        ("norm of the gradient before clipping", ["train/gradient_norm"]),
        ("learning rate", ["train/learning_rate"]),
    ];

    /// <param name="logs">Folder of the files.</param>
    /// <param name="path">The PNG.</param>
    /// <exception cref="FileNotFoundException">There are none.</exception>
    public static void Write(string logs, string path)
    {
        var curves = Directory.EnumerateFiles(logs, "events.out.tfevents.*").Order(StringComparer.Ordinal).SelectMany(Read)
            .GroupBy(point => point.Tag, point => new DataPoint(point.Step, point.Value)).ToDictionary(curve => curve.Key, curve => curve.ToArray());
        if (curves.Count == 0)
            throw new FileNotFoundException($"'{logs}' has no files for TensorBoard.");
        Plots.Write(path, [.. s_plots.Select(plot => Plot(plot.Title, plot.Tags, curves)).Chunk(2)], Width, _ => Height);
    }

    private static PlotModel Plot(string title, string[] tags, Dictionary<string, DataPoint[]> curves)
    {
        var plot = new PlotModel { Title = title, TitleFontSize = 13, TitleFontWeight = FontWeights.Normal };
        plot.Axes.Add(new LinearAxis { Position = AxisPosition.Bottom, Title = "step", Minimum = 0, MajorGridlineStyle = LineStyle.Dot });
        plot.Axes.Add(new LinearAxis { Position = AxisPosition.Left, Minimum = 0, MaximumPadding = 0.05, MajorGridlineStyle = LineStyle.Dot });
        plot.Legends.Add(new Legend { LegendPosition = LegendPosition.RightTop, LegendOrientation = LegendOrientation.Horizontal });
        foreach (string tag in tags.Where(curves.ContainsKey))
        {
            var points = curves[tag];
            bool isOfBatches = tag.EndsWith("train/loss", StringComparison.Ordinal) || tag.EndsWith("norm", StringComparison.Ordinal);
            if (isOfBatches)
                Line(points, OxyColor.FromAColor(70, OxyColors.SteelBlue), thickness: 1);
            Line(isOfBatches ? [.. points.Select((point, i) => new DataPoint(point.X, points[Math.Max(0, i + 1 - MeanOf)..(i + 1)].Average(p => p.Y)))] : points,
                tags.Length > 2 ? Plots.Colour(Array.IndexOf(tags, tag)) : tag.StartsWith("held", StringComparison.Ordinal) ? OxyColors.DarkOrange : OxyColors.SteelBlue,
                thickness: 2, tags.Length > 2 ? tag[^1..] : null);
        }
        return plot;

        void Line(DataPoint[] points, OxyColor colour, double thickness, string? label = null)
        {
            var line = new LineSeries { Color = colour, StrokeThickness = thickness, Title = label };
            line.Points.AddRange(points);
            plot.Series.Add(line);
        }
    }

    /// <summary>The scalars of a file: records of length, its sum, an Event and the sum of that.</summary>
    private static IEnumerable<(string Tag, long Step, double Value)> Read(string path)
    {
        using var reader = new BinaryReader(File.OpenRead(path));
        while (reader.BaseStream.Position < reader.BaseStream.Length)
        {
            int length = (int)reader.ReadInt64();
            reader.ReadUInt32();
            var one = Event.Parser.ParseFrom(reader.ReadBytes(length));
            reader.ReadUInt32();
            foreach (var value in one.Summary?.Value ?? [])
                if (value.Image is null)
                    yield return (value.Tag, one.Step, value.SimpleValue);
        }
    }
}
