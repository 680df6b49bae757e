using System.Globalization;
using System.Net;
using System.Text;
using Microsoft.ML.Mobius.Files;
using OxyPlot;
using OxyPlot.Axes;
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

    private static readonly OxyColor[] s_colours = [OxyColors.SteelBlue, OxyColors.DarkOrange];

    private const string Style = """
        :root { color-scheme: light }
        body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 64rem; padding: 1.5rem 1rem; color: #1d2733; background: #fff }
        h1, h2, p { overflow-wrap: anywhere } h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem } p { max-width: 46rem; color: #4a5563 }
        .wide { overflow-x: auto }
        table { border-collapse: collapse } td, th { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #dde3ea; text-align: right }
        td { white-space: nowrap } th { vertical-align: bottom; overflow-wrap: anywhere; min-width: 5rem }
        td:first-child, th:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere }
        svg { display: block; width: 100%; min-width: 34rem; max-width: 48rem; height: auto } img { display: block; image-rendering: pixelated }
        """;

    /// <param name="path">The page.</param>
    /// <param name="title">Its title.</param>
    /// <param name="note">What was measured, and how.</param>
    /// <param name="tables">In order.</param>
    /// <param name="curves">One per model.</param>
    /// <param name="sheets">Heading and PNG file of each.</param>
    public static void Write(string path, string title, string note, IReadOnlyList<ReportTable> tables, IReadOnlyList<LossCurve> curves,
        IReadOnlyList<(string Title, string File)> sheets)
    {
        var page = new StringBuilder($"""
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{Text(title)}</title><style>{Style}</style></head><body>
            <h1>{Text(title)}</h1><p>{Text(note)}</p>
            """);
        foreach (var table in tables)
        {
            page.Append($"<h2>{Text(table.Title)}</h2><p>{Text(table.Note)}</p><div class=\"wide\"><table>");
            page.Append($"<tr>{string.Concat(table.Columns.Select(name => $"<th>{Text(name)}</th>"))}</tr>");
            foreach (var row in table.Rows)
                page.Append($"<tr>{string.Concat(row.Select(cell => $"<td>{Text(cell)}</td>"))}</tr>");
            page.Append("</table></div>\n");
        }
        var key = curves.Zip(s_colours, (curve, colour) => $"<br><span style=\"color:#{colour.ToUint() & 0xFFFFFF:x6}\">&#9632;</span> {Text(curve.Name)}");
        page.Append($"<h2>Denoising loss over the noise levels</h2><p>Mean squared error; the bands are the 95 % intervals.{string.Concat(key)}</p><div class=\"wide\">{Plot(curves)}</div>\n");
        foreach (var (heading, file) in sheets)
            page.Append($"<h2>{Text(heading)}</h2><div class=\"wide\"><img alt=\"{Text(heading)}\" src=\"data:image/png;base64,{Convert.ToBase64String(File.ReadAllBytes(file))}\"></div>\n");
        page.Append("</body></html>\n");
        FileAside.Write(path, aside => File.WriteAllText(aside, page.ToString()));
    }

    private static string Plot(IReadOnlyList<LossCurve> curves)
    {
        var plot = new PlotModel { Background = OxyColors.White };
        plot.Axes.Add(new LinearAxis { Position = AxisPosition.Bottom, Title = "time step (right: noise alone)", AxisTitleDistance = 10, MajorGridlineStyle = LineStyle.Dot });
        plot.Axes.Add(new LinearAxis { Position = AxisPosition.Left, Minimum = 0, MaximumPadding = 0.05, MajorGridlineStyle = LineStyle.Dot });
        foreach (var (curve, colour) in curves.Zip(s_colours))
        {
            var band = new AreaSeries { Color = OxyColors.Transparent, Color2 = OxyColors.Transparent, Fill = OxyColor.FromAColor(50, colour) };
            var line = new LineSeries { Color = colour, MarkerType = MarkerType.Circle, MarkerFill = colour, MarkerSize = 3 };
            foreach (var (time, loss) in curve.Points)
            {
                band.Points.Add(new DataPoint(time, loss.Low));
                band.Points2.Add(new DataPoint(time, loss.High));
                line.Points.Add(new DataPoint(time, loss.Mean));
            }
            plot.Series.Add(band);
            plot.Series.Add(line);
        }
        string svg = new SvgExporter { Width = PlotWidth, Height = PlotHeight, IsDocument = false }.ExportToString(plot);
        return svg.Replace("<svg ", $"<svg viewBox=\"0 0 {PlotWidth} {PlotHeight}\" ", StringComparison.Ordinal);     // or it does not scale
    }

    /// <summary>A number as tables have it.</summary>
    public static string Number(double value) => value.ToString("G4", CultureInfo.InvariantCulture);

    private static string Text(string text) => WebUtility.HtmlEncode(text);
}
