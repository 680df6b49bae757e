using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.ML.Mobius.Files;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>The cost of a training step, arm by arm: training.json, training.md and training.png.</summary>
internal static class TrainingBench
{
    private static readonly JsonSerializerOptions s_json = new(JsonSerializerDefaults.Web)
    {
        WriteIndented = true, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    /// <param name="sizes">Of the model, one after the other.</param>
    /// <param name="arms">In each round each of them once.</param>
    /// <param name="steps">Steps of every arm that are measured.</param>
    /// <param name="onGpu">Whether GPU 0 computes.</param>
    /// <param name="folder">Where the results go.</param>
    /// <param name="interrupt">Ends it; then nothing is written.</param>
    /// <returns>Whether everything could be measured.</returns>
    public static bool Run(IReadOnlyList<ModelSize> sizes, IReadOnlyList<Arm> arms, int steps, bool onGpu, string folder, CancellationToken interrupt)
    {
        Directory.CreateDirectory(folder);
        var rows = new List<TrainingCost>();
        var (failures, notes) = (new List<string>(), new List<string>());
        int threads = 0;
        foreach (var size in sizes)
        {
            // The rounds spread the steps of an arm over time, as other work on the machine comes and goes. Full is too long to be built twice.
            int rounds = size.Name == "full" ? 1 : 2;
            var measured = arms.ToDictionary(arm => arm, _ => new List<Measurement>());
            var failed = arms.Where(arm => arm.Narrow && arm.Inner(size) == Arm.All32).ToHashSet();
            notes.AddRange(failed.Select(arm => $"{arm.Name} at size {size.Name} would be {Arm.Baseline}, which trains no more parameters than {Arm.Default} as it is."));
            for (int round = 1; round <= rounds; round++)
                foreach (var arm in arms.Except(failed))
                {
                    Console.WriteLine($"{size.Name}, round {round} of {rounds}: {arm.Name} ...");
                    try
                    {
                        int count = steps * round / rounds - steps * (round - 1) / rounds;
                        var made = OwnProcess.Measure(new Workload(Activity.Training, arm.Name, size, count, OnGpu: onGpu), interrupt);
                        measured[arm].Add(made);
                        threads = made.Threads;
                        Console.WriteLine(Invariant($"    CPU {Join(made.CpuSeconds)} s, wall {Join(made.WallSeconds)} s, peak {Mebibytes(made.PeakBytes)} MiB, estimated {Mebibytes(made.EstimatedBytes)} MiB"));
                    }
                    catch (MeasurementFailedException e)
                    {
                        failed.Add(arm);
                        failures.Add($"{arm.Name} at size {size.Name} could not be measured: {e.Message}.");
                        Console.Error.WriteLine(failures[^1]);
                    }
                }
            rows.AddRange(arms.Except(failed).Select(arm => TrainingCost.Of(arm.Name, size.Name, measured[arm])));
        }

        var machine = Machine.This(threads);
        rows = [.. rows.Select(row => row with { Ratios = CostRatios.Of(row, rows.Find(other => other.Size == row.Size && other.Arm == Arm.Baseline)) })];
        if (onGpu)
            notes.Add("GPU 0 computed. Peak is what its driver said was in use on it in the end, by whomever: libtorch gives none back.");
        string report = Report(sizes, rows, [.. notes, .. failures], machine);
        FileAside.Write(Path.Combine(folder, "training.json"), path => File.WriteAllBytes(path,
            JsonSerializer.SerializeToUtf8Bytes(new { machine, arms = rows, notes, failures }, s_json)));
        FileAside.Write(Path.Combine(folder, "training.md"), path => File.WriteAllText(path, report));
        TrainingPlot.Write(Path.Combine(folder, "training.png"), rows);
        Console.WriteLine($"\n{report}\nWritten to {Path.Combine(folder, "training.json")}, training.md and training.png.");
        return failures.Count == 0;
    }

    private static string Report(IReadOnlyList<ModelSize> sizes, IReadOnlyList<TrainingCost> rows, IReadOnlyList<string> remarks, Machine machine)
    {
        var text = new StringBuilder($"""
            # Cost of a training step

            {machine.Markdown}
            - 8 frames, 32x32 latents, batch 1, float32, AdamW; every arm in processes of its own, by turns; one step of each is not counted
            - CPU and wall: seconds per step, the median (least .. most). Peak: resident memory at most, less that before the model was made;
              estimated: what the trainer's EstimateMemory says of it.
            - Ratios are to {Arm.Baseline}.

            """);
        foreach (var size in rows.GroupBy(row => row.Size))
        {
            text.Append(CultureInfo.InvariantCulture, $"\n## {size.Key}\n\n");
            text.Append("| arm | CPU s | wall s | peak MiB | estimated | parameters | trained | CPU ratio | wall ratio | memory ratio |\n|---|---|---|---|---|---|---|---|---|---|\n");
            foreach (var row in size)
                text.Append(Invariant($"| {row.Arm} | {row.CpuSeconds:F2} ({row.CpuSecondsMin:F2} .. {row.CpuSecondsMax:F2}) ")
                    + Invariant($"| {row.WallSeconds:F2} ({row.WallSecondsMin:F2} .. {row.WallSecondsMax:F2}) ")
                    + Invariant($"| {Mebibytes(row.PeakBytes)} ({Mebibytes(row.PeakBytesMin)} .. {Mebibytes(row.PeakBytesMax)}) | {Mebibytes(row.EstimatedBytes)} | {row.Parameters:N0} | {row.Trained:N0} ")
                    + Invariant($"| {row.Ratios?.CpuSeconds:F3} | {row.Ratios?.WallSeconds:F3} | {row.Ratios?.PeakBytes:F3} |\n"));
            text.Append('\n');
            foreach (var row in size)
                text.Append(Invariant($"- {row.Arm}: {Arm.Named(row.Arm).Description}{Cut(Arm.Named(row.Arm), sizes.First(size => size.Name == row.Size))}\n"));
        }
        foreach (string remark in remarks)
            text.Append(CultureInfo.InvariantCulture, $"\n{remark}\n");
        return text.ToString();
    }

    private static string Cut(Arm arm, ModelSize size) => arm.Narrow ? Invariant($" ({arm.Inner(size)} of every {Arm.All32} channels are left)") : "";

    private static string Invariant(FormattableString text) => FormattableString.Invariant(text);

    private static string Join(IEnumerable<double> seconds) => string.Join(", ", seconds.Select(value => value.ToString("F2", CultureInfo.InvariantCulture)));

    private static string Mebibytes(double bytes) => (bytes / (1 << 20)).ToString("F0", CultureInfo.InvariantCulture);

}

/// <summary>What a step of an arm costs: medians, with the least and the most.</summary>
internal sealed record TrainingCost(
    string Arm, string Size, double CpuSeconds, double CpuSecondsMin, double CpuSecondsMax, double WallSeconds, double WallSecondsMin, double WallSecondsMax,
    long PeakBytes, long PeakBytesMin, long PeakBytesMax, long EstimatedBytes, long Parameters, long Trained, int Steps, int Processes, CostRatios? Ratios = null)
{
    public static TrainingCost Of(string arm, string size, IReadOnlyList<Measurement> made)
    {
        var (cpu, wall) = (Spread.Of(made.SelectMany(one => one.CpuSeconds)), Spread.Of(made.SelectMany(one => one.WallSeconds)));
        var peak = Spread.Of(made.Select(one => (double)one.PeakBytes));
        return new TrainingCost(arm, size, cpu.Median, cpu.Min, cpu.Max, wall.Median, wall.Min, wall.Max, (long)peak.Median, (long)peak.Min, (long)peak.Max,
            made[0].EstimatedBytes, made[0].Parameters, made[0].Trained, made.Sum(one => one.CpuSeconds.Count), made.Count);
    }
}

/// <summary>Medians over those of the baseline.</summary>
internal sealed record CostRatios(double CpuSeconds, double WallSeconds, double PeakBytes, double Trained)
{
    public static CostRatios? Of(TrainingCost row, TrainingCost? baseline) => baseline is null ? null : new CostRatios(
        row.CpuSeconds / baseline.CpuSeconds, row.WallSeconds / baseline.WallSeconds, (double)row.PeakBytes / baseline.PeakBytes,
        (double)row.Trained / baseline.Trained);
}
