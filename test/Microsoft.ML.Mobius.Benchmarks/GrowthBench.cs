using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.ML.Mobius.Files;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>How the cost of a training step grows with frames, batch and width: growth.json, growth.md and growth.png.</summary>
internal static class GrowthBench
{
    private static readonly JsonSerializerOptions s_json = new(JsonSerializerDefaults.Web) { WriteIndented = true };

    /// <param name="size">Where frames and batch grow from, with 8 frames and a batch of 1.</param>
    /// <param name="arms">Measured by turns.</param>
    /// <param name="steps">Measured at each point.</param>
    /// <param name="folder">Where the results go.</param>
    /// <param name="interrupt">Ends it; then nothing is written.</param>
    public static bool Run(ModelSize size, IReadOnlyList<Arm> arms, int steps, string folder, CancellationToken interrupt)
    {
        Directory.CreateDirectory(folder);
        var points = new List<GrowthPoint>();
        var failures = new List<string>();
        int threads = 0;
        var made = new Dictionary<Workload, Measurement>();
        foreach (var (axis, value, change) in Steps())
            foreach (var arm in arms)
            {
                var work = change(new Workload(Activity.Training, arm.Name, size, steps));
                Console.WriteLine($"{axis} {value}: {arm.Name} ...");
                try
                {
                    if (!made.TryGetValue(work, out var measured))                        // the point that two axes share
                        measured = made[work] = OwnProcess.Measure(work, interrupt);
                    threads = measured.Threads;
                    points.Add(new GrowthPoint(arm.Name, axis, value, Spread.Of(measured.CpuSeconds).Median, Spread.Of(measured.WallSeconds).Median, measured.PeakBytes,
                        measured.EstimatedBytes, measured.Trained));
                    Console.WriteLine(FormattableString.Invariant($"    CPU {points[^1].CpuSeconds:F2} s, peak {measured.PeakBytes >> 20} MiB, estimated {measured.EstimatedBytes >> 20} MiB"));
                }
                catch (MeasurementFailedException e)
                {
                    failures.Add($"{arm.Name} at {axis} {value} could not be measured: {e.Message}.");
                    Console.Error.WriteLine(failures[^1]);
                }
            }

        var machine = Machine.This(threads);
        Fit[] fits = [.. points.GroupBy(point => (point.Arm, point.Axis)).Where(line => line.Count() > 1).Select(line => new Fit(line.Key.Arm, line.Key.Axis,
            Exponent(line.Select(point => (point.Value, point.CpuSeconds))), Exponent(line.Select(point => (point.Value, (double)point.PeakBytes)))))];
        string report = Report(size, points, fits, failures, machine);
        FileAside.Write(Path.Combine(folder, "growth.json"), path => File.WriteAllBytes(path,
            JsonSerializer.SerializeToUtf8Bytes(new { machine, size = size.Name, points, exponents = fits, failures }, s_json)));
        FileAside.Write(Path.Combine(folder, "growth.md"), path => File.WriteAllText(path, report));
        GrowthPlot.Write(Path.Combine(folder, "growth.png"), points);
        Console.WriteLine($"\n{report}\nWritten to {folder}.");
        return failures.Count == 0;
    }

    /// <summary>Axis, value and the workload there. Width is that of the trained layers as a share of the full one, whatever the spatial ones have.</summary>
    private static IEnumerable<(string Axis, double Value, Func<Workload, Workload> Change)> Steps()
    {
        foreach (int frames in new[] { 4, 8, 16, 32 })
            yield return ("frames", frames, work => work with { Frames = frames });
        foreach (int batch in new[] { 1, 2, 3, 4 })
            yield return ("batch", batch, work => work with { Batch = batch });
        foreach (int divisor in new[] { 8, 4, 2, 1 })
            yield return ("width", 1.0 / divisor, work => work with { WidthDivisor = divisor });
    }

    /// <summary>p of the power law a x^p that is nearest in least squares of the logarithms.</summary>
    private static double Exponent(IEnumerable<(double X, double Y)> points)
    {
        (double X, double Y)[] logs = [.. points.Select(point => (Math.Log(point.X), Math.Log(point.Y)))];
        var (x, y) = (logs.Average(point => point.X), logs.Average(point => point.Y));
        return logs.Sum(point => (point.X - x) * (point.Y - y)) / logs.Sum(point => (point.X - x) * (point.X - x));
    }

    private static string Report(ModelSize size, IReadOnlyList<GrowthPoint> points, IReadOnlyList<Fit> fits, IReadOnlyList<string> failures, Machine machine)
    {
        var text = new StringBuilder($"""
            # Growth of the cost of a training step

            {machine.Markdown}
            - size {size.Name}, 8 frames, 32x32 latents, batch 1, but for what the axis says; width is that of the trained temporal stream, or of Serial's temporal
              layers inside, as a share of the full one
            - estimated: what the trainer's EstimateMemory says; parts of a narrow model that stay as wide as they are (the frozen half, projections) keep exponents of width low
            - An exponent p says that the cost grows as the p-th power (least squares of the logarithms).

            | arm | axis | exponent of CPU seconds | exponent of peak memory |
            |---|---|---|---|

            """);
        foreach (var fit in fits)
            text.Append(CultureInfo.InvariantCulture, $"| {fit.Arm} | {fit.Axis} | {fit.CpuSeconds:F2} | {fit.PeakBytes:F2} |\n");
        text.Append("\n| arm | axis | value | CPU s | wall s | peak MiB | estimated | estimated / peak | trained |\n|---|---|---|---|---|---|---|---|---|\n");
        foreach (var point in points)
            text.Append(CultureInfo.InvariantCulture,
                $"| {point.Arm} | {point.Axis} | {point.Value} | {point.CpuSeconds:F2} | {point.WallSeconds:F2} | {point.PeakBytes >> 20} ")
                .Append(CultureInfo.InvariantCulture, $"| {point.EstimatedBytes >> 20} | {(double)point.EstimatedBytes / point.PeakBytes:F2} | {point.Trained:N0} |\n");
        foreach (string failure in failures)
            text.Append(CultureInfo.InvariantCulture, $"\n{failure}\n");
        return text.ToString();
    }

    /// <summary>Fitted exponents of one line.</summary>
    private sealed record Fit(string Arm, string Axis, double CpuSeconds, double PeakBytes);
}

/// <summary>What a step costs at one place of one axis: medians.</summary>
internal sealed record GrowthPoint(
    string Arm, string Axis, double Value, double CpuSeconds, double WallSeconds, long PeakBytes, long EstimatedBytes, long Trained);
