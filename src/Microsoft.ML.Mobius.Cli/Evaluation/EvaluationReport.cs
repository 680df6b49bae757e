using System.Globalization;
using System.Net;
using System.Text;
using Microsoft.ML.Mobius.Files;
using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Legends;
using OxyPlot.Series;

namespace Microsoft.ML.Mobius.Cli.Evaluation;

/// <summary>A table of the report.</summary>
/// <param name="Title">Its heading.</param>
/// <param name="Note">How to read it.</param>
/// <param name="Columns">The first names the row.</param>
/// <param name="Rows">As many cells as there are columns.</param>
internal sealed record ReportTable(string Title, string Note, IReadOnlyList<string> Columns, IReadOnlyList<string[]> Rows);

/// <summary>Losses of one model, with their intervals, by time step.</summary>
internal sealed record LossCurve(string Name, IReadOnlyList<(int Time, Interval Loss)> Points);

/// <summary>Writes one HTML page that needs no other file: tables, the loss as a plot, and contact sheets.</summary>
internal static class EvaluationReport
{
    private const int PlotWidth = 760, PlotHeight = 380;

    private const string Style = """
        body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #222 }
        h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
        table { border-collapse: collapse } td, th { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #ddd; text-align: right }
        td:first-child, th:first-child { text-align: left } p { max-width: 46rem; color: #555 }
        img, svg { max-width: 100%; height: auto } img { image-rendering: pixelated }
        """;

    /// <param name="path">The page.</param>
    /// <param name="title">Its title.</param>
    /// <param name="tables">In order.</param>
    /// <param name="curves">One per model.</param>
    /// <param name="sheets">Heading and PNG file of each.</param>
    public static void Write(string path, string title, IReadOnlyList<ReportTable> tables, IReadOnlyList<LossCurve> curves, IReadOnlyList<(string Title, string File)> sheets)
    {
        var page = new StringBuilder($"""
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{Text(title)}</title><style>{Style}</style></head><body>
            <h1>{Text(title)}</h1>
            """);
        foreach (var table in tables)
        {
            page.Append($"<h2>{Text(table.Title)}</h2><p>{Text(table.Note)}</p><table><tr>{string.Concat(table.Columns.Select(name => $"<th>{Text(name)}</th>"))}</tr>");
            foreach (var row in table.Rows)
                page.Append($"<tr>{string.Concat(row.Select(cell => $"<td>{Text(cell)}</td>"))}</tr>");
            page.Append("</table>\n");
        }
        page.Append($"<h2>Denoising loss over the noise levels</h2>{Plot(curves)}\n");
        foreach (var (heading, file) in sheets)
            page.Append($"<h2>{Text(heading)}</h2><img alt=\"{Text(heading)}\" src=\"data:image/png;base64,{Convert.ToBase64String(File.ReadAllBytes(file))}\">\n");
        page.Append("</body></html>\n");
        FileAside.Write(path, aside => File.WriteAllText(aside, page.ToString()));
    }

    private static string Plot(IReadOnlyList<LossCurve> curves)
    {
        var plot = new PlotModel { Background = OxyColors.White };
        plot.Legends.Add(new Legend { LegendPosition = LegendPosition.TopRight });
        plot.Axes.Add(new LinearAxis { Position = AxisPosition.Bottom, Title = "time step (right: noise alone)", MajorGridlineStyle = LineStyle.Dot });
        plot.Axes.Add(new LinearAxis { Position = AxisPosition.Left, Title = "mean squared error", Minimum = 0, MaximumPadding = 0.05, MajorGridlineStyle = LineStyle.Dot });
        foreach (var (curve, colour) in curves.Zip([OxyColors.SteelBlue, OxyColors.DarkOrange]))
        {
            var band = new AreaSeries { Color = OxyColors.Transparent, Color2 = OxyColors.Transparent, Fill = OxyColor.FromAColor(50, colour) };
            var line = new LineSeries { Title = curve.Name, Color = colour, MarkerType = MarkerType.Circle, MarkerFill = colour, MarkerSize = 3 };
            foreach (var (time, loss) in curve.Points)
            {
                band.Points.Add(new DataPoint(time, loss.Low));
                band.Points2.Add(new DataPoint(time, loss.High));
                line.Points.Add(new DataPoint(time, loss.Mean));
            }
            plot.Series.Add(band);
            plot.Series.Add(line);
        }
        return new SvgExporter { Width = PlotWidth, Height = PlotHeight, IsDocument = false }.ExportToString(plot);
    }

    /// <summary>A number as tables have it.</summary>
    public static string Number(double value) => value.ToString("G4", CultureInfo.InvariantCulture);

    private static string Text(string text) => WebUtility.HtmlEncode(text);
}
