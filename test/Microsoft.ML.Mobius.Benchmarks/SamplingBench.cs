using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.ML.Mobius.Files;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>What generating costs: sampling.json and sampling.md.</summary>
internal static class SamplingBench
{
    private static readonly JsonSerializerOptions s_json = new(JsonSerializerDefaults.Web) { WriteIndented = true };

    /// <param name="sizes">Of the model, one after the other.</param>
    /// <param name="ways">Measured by turns.</param>
    /// <param name="videos">Generated in each, after one that is not counted.</param>
    /// <param name="folder">Where the results go.</param>
    /// <param name="interrupt">Ends it; then nothing is written.</param>
    public static bool Run(IReadOnlyList<ModelSize> sizes, IReadOnlyList<Way> ways, int videos, string folder, CancellationToken interrupt)
    {
        Directory.CreateDirectory(folder);
        var rows = new List<Row>();
        var failures = new List<string>();
        int threads = 0;
        foreach (var size in sizes)
            foreach (var way in ways)
            {
                var work = new Workload(Activity.Sampling, way.Name, size, videos);
                Console.WriteLine($"{size.Name}: {way.Name} ...");
                try
                {
                    var made = OwnProcess.Measure(work, interrupt);
                    var (cpu, wall) = (Spread.Of(made.CpuSeconds), Spread.Of(made.WallSeconds));
                    threads = made.Threads;
                    rows.Add(new Row(way.Name, size.Name, way.Frames, way.Steps, way.Frames / wall.Median, cpu.Median, wall.Median, wall.Min, wall.Max, made.PeakBytes, made.EstimatedBytes));
                    Console.WriteLine(FormattableString.Invariant($"    {rows[^1].FramesPerSecond:F2} frames/s, peak {made.PeakBytes >> 20} MiB"));
                }
                catch (MeasurementFailedException e)
                {
                    failures.Add($"{way.Name} at size {size.Name} could not be measured: {e.Message}.");
                    Console.Error.WriteLine(failures[^1]);
                }
            }

        var machine = Machine.This(threads);
        string report = Report(ways, rows, failures, machine);
        FileAside.Write(Path.Combine(folder, "sampling.json"), path => File.WriteAllBytes(path,
            JsonSerializer.SerializeToUtf8Bytes(new { machine, arms = rows, failures }, s_json)));
        FileAside.Write(Path.Combine(folder, "sampling.md"), path => File.WriteAllText(path, report));
        Console.WriteLine($"\n{report}\nWritten to {folder}.");
        return failures.Count == 0;
    }

    private static string Report(IReadOnlyList<Way> ways, IReadOnlyList<Row> rows, IReadOnlyList<string> failures, Machine machine)
    {
        var text = new StringBuilder($"""
            # Cost of generating

            {machine.Markdown}
            - 32x32 latents, guidance, float32; next to nothing for the autoencoder
            - Medians over the videos of a process, the first left out. Peak: resident memory at most, less that before the model was made;
              estimated: what the transformer's EstimateMemory says of it.
            {string.Join('\n', ways.Select(way => $"- {way.Name}: {way.Description}"))}

            | size | arm | frames | steps | frames/s | CPU s per video | wall s per video | peak MiB | estimated |
            |---|---|---|---|---|---|---|---|---|

            """);
        foreach (var row in rows)
            text.Append(CultureInfo.InvariantCulture, $"| {row.Size} | {row.Arm} | {row.Frames} | {row.Steps} | {row.FramesPerSecond:F2} | {row.CpuSeconds:F2} ")
                .Append(CultureInfo.InvariantCulture, $"| {row.WallSeconds:F2} ({row.WallSecondsMin:F2} .. {row.WallSecondsMax:F2}) | {row.PeakBytes >> 20} | {row.EstimatedBytes >> 20} |\n");
        foreach (string failure in failures)
            text.Append(CultureInfo.InvariantCulture, $"\n{failure}\n");
        return text.ToString();
    }

    private sealed record Row(
        string Arm, string Size, int Frames, int Steps, double FramesPerSecond, double CpuSeconds, double WallSeconds, double WallSecondsMin, double WallSecondsMax, long PeakBytes,
        long EstimatedBytes);
}
