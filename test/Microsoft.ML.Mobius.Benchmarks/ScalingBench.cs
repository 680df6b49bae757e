using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.ML.Mobius.Distributed;
using Microsoft.ML.Mobius.Files;
using Microsoft.ML.Mobius.UNet;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>What several processes cost: bytes to sum per step, how fast they are summed, how much two processes do on two cores, and on paper up to 1,024 devices.</summary>
internal static class ScalingBench
{
    /// <summary>The hidden command by which this program is started as one of several ranks.</summary>
    public const string Command = "reduce";

    private const string Mark = "reduced ";
    private const long MeasuredBytes = 256 << 20;
    private static readonly JsonSerializerOptions s_json = new(JsonSerializerDefaults.Web) { WriteIndented = true };

    /// <param name="steps">Of each run that efficiency is measured with.</param>
    /// <param name="stepSeconds">That a step takes on a device at full size, for the curve: an assumption.</param>
    /// <param name="folder">For the results; those of bench-network.sh are taken from there.</param>
    /// <param name="interrupt">Ends it.</param>
    public static bool Run(int steps, double stepSeconds, string folder, CancellationToken interrupt)
    {
        Directory.CreateDirectory(folder);
        LayoutBytes[] layouts = [.. Layouts()];
        var links = new List<Link>();
        foreach (var (name, transport) in new[] { ("one machine, shared memory", "vader,self"), ("one machine, TCP over loopback", "tcp,self") })
        {
            Console.WriteLine($"{name} ...");
            links.Add(OwnProcess.Ask<Link>(Command, JsonSerializer.Serialize(new Reduction(name, MeasuredBytes, 3)), Mark, interrupt, [.. Mpirun(2), "--mca", "btl", transport]));
        }
        foreach (string path in Directory.EnumerateFiles(folder, "network-*.json").Order(StringComparer.Ordinal))
            links.Add(JsonSerializer.Deserialize<Link>(File.ReadAllBytes(path), s_json)!);

        var (one, two) = (new List<double>(), new List<double>());
        var work = new Workload(Activity.Training, Arm.Default, ModelSize.All[0], Math.Max(1, steps / 2));
        for (int round = 0; round < 2; round++)
            foreach (var (ranks, seconds) in new[] { (1, one), (2, two) })
            {
                Console.WriteLine($"{ranks} processes of one thread, round {round + 1} of 2 ...");
                seconds.AddRange(OwnProcess.Ask<Measurement>(
                    OwnProcess.Command, JsonSerializer.Serialize(work), OwnProcess.Mark, interrupt, Mpirun(ranks)).WallSeconds);
            }
        var efficiency = new Efficiency(Spread.Of(one), Spread.Of(two));
        var machine = Machine.This(threads: 1);
        string report = Report(machine, layouts, links, efficiency, stepSeconds);
        FileAside.Write(Path.Combine(folder, "scaling.json"), path => File.WriteAllBytes(path, JsonSerializer.SerializeToUtf8Bytes(
            new { machine, layouts, links, efficiency = efficiency.Share, efficiency.One, efficiency.Two, stepSeconds }, s_json)));
        FileAside.Write(Path.Combine(folder, "scaling.md"), path => File.WriteAllText(path, report));
        ScalingPlot.Write(Path.Combine(folder, "scaling.png"), layouts, links, stepSeconds);
        Console.WriteLine($"\n{report}\nWritten to {Path.Combine(folder, "scaling.json")}, scaling.md and scaling.png.");
        return true;
    }

    /// <summary>Sums, as one of several ranks, so many bytes in buckets as training does; rank 0 tells how long it takes.</summary>
    /// <param name="reduction">What to do, as JSON; or the name of a link, then as much as <see cref="Run"/> does.</param>
    /// <param name="file">Where rank 0 writes the result as JSON; null tells it on standard output.</param>
    public static int Answer(string reduction, string? file)
    {
        var asked = reduction.StartsWith('{') ? JsonSerializer.Deserialize<Reduction>(reduction)! : new Reduction(reduction, MeasuredBytes, 3);
        var group = ProcessGroup.Current;
        const long bucket = GradientBuckets.MostBytes;
        Tensor[] buckets = [.. Enumerable.Range(0, (int)(asked.Bytes / bucket)).Select(_ => ones(bucket / sizeof(float)))];
        Tensor[] sums = [.. buckets.Select(tensor => tensor.clone())];
        double whole = Best(buckets, sums), latency = Best([ones(1)], [ones(1)]);
        if (!group.IsFirst)
            return 0;
        var link = new Link(asked.Name, group.Size, buckets.Length * bucket, whole, latency);
        if (file is null)
            Console.WriteLine(Mark + JsonSerializer.Serialize(link));
        else
            File.WriteAllBytes(file, JsonSerializer.SerializeToUtf8Bytes(link, s_json));
        return 0;

        double Best(Tensor[] own, Tensor[] sums) => Enumerable.Range(0, asked.Times + 1).Select(_ =>
        {
            group.Barrier();
            var clock = Stopwatch.StartNew();
            nint[] requests = [.. own.Zip(sums, group.BeginSum)];
            for (int i = 0; i < requests.Length; i++)
                group.Finish(ref requests[i]);
            return clock.Elapsed.TotalSeconds;
        }).Skip(1).Min();                                                                // the first opens connections
    }

    /// <summary>Seconds of a step of N ranks: T + max(0, R(N) - h T), R(N) = 2 (N - 1)/N S/W + 2 log2(N) L.</summary>
    /// <param name="ranks">N.</param>
    /// <param name="seconds">T, of a step on one device.</param>
    /// <param name="bytes">S, of the trained gradients.</param>
    /// <param name="link">W and L.</param>
    public static double StepSeconds(double ranks, double seconds, long bytes, Link link)
        => seconds + Math.Max(0, 2 * (ranks - 1) / ranks * bytes / link.BytesPerSecond + 2 * Math.Log2(ranks) * link.Latency - Hidden * seconds);

    /// <summary>h: the share of a step in which gradients can be summed while others are made. Of the way back, two thirds of a step, all but the last part.</summary>
    private const double Hidden = 0.6;

    private static IEnumerable<LayoutBytes> Layouts()
    {
        var full = ModelSize.Named("full");
        TrainingFootprint Count(string arm) => new(Arm.Named(arm).UNet(full), batch: 1, frames: 16, height: 32, width: 32, tokens: 77);
        var (serial, stream) = (Count(Arm.Baseline), Count(Arm.Default));
        yield return new("Serial, all of the U-Net trained", serial.Frozen + serial.Trained);
        yield return new("Serial, spatial layers frozen", serial.Trained);
        yield return new("StreamParallel, default", stream.Trained);
    }

    private static string[] Mpirun(int ranks) => ["mpirun", "-n", $"{ranks}", "--oversubscribe", "--bind-to", "none", "-x", "OMP_NUM_THREADS=1"];

    private static string Report(Machine machine, LayoutBytes[] layouts, List<Link> links, Efficiency efficiency, double stepSeconds)
    {
        var text = new StringBuilder($"""
            # Several processes

            {machine.Markdown}
            - Open MPI, sums in buckets of {GradientBuckets.MostBytes >> 20} MiB as in training; the best of three

            ## Gradients to sum per step, full size


            """);
        text.Append("| layout | trained parameters | MB per step and rank |").Append(string.Concat(links.Select(link => $" s, {link.Name} |")));
        text.Append("\n|---|---|---|").Append(string.Concat(links.Select(_ => "---|"))).Append('\n');
        foreach (var layout in layouts)
            text.Append(Invariant($"| {layout.Name} | {layout.Parameters:N0} | {layout.Bytes / 1e6:F0} |"))
                .Append(string.Concat(links.Select(link => Invariant($" {layout.Bytes / link.BytesPerSecond:F2} |")))).Append('\n');
        text.Append("\nThe seconds are worked out from the measured rates:\n\n| link | processes | measured MiB | s | MB/s | latency, us |\n|---|---|---|---|---|---|\n");
        foreach (var link in links)
            text.Append(Invariant($"| {link.Name} | {link.Ranks} | {link.Bytes >> 20} | {link.Seconds:F3} | {link.BytesPerSecond / 1e6:F0} | {link.Latency * 1e6:F0} |\n"));
        text.Append(Invariant($"""

            ## Two processes of one thread beside one

            One: {efficiency.One.Median:F3} s per step ({efficiency.One.Min:F3} .. {efficiency.One.Max:F3}). Two, each with as much to do:
            {efficiency.Two.Median:F3} s ({efficiency.Two.Min:F3} .. {efficiency.Two.Max:F3}). Efficiency {efficiency.Share:P1}.

            ## On paper

            Seconds of a step of N devices: T + max(0, R(N) - {Hidden} T), R(N) = 2 (N - 1)/N S/W + 2 log2(N) L; efficiency is T over that.
            S: bytes per step; W and L: rate and latency measured between two processes, taken to be those of every link of a ring, all of which carry at a time. T is assumed to be
            {stepSeconds} s, not measured. All devices are taken to be alike, and rank 0's own work (held-out loss, samples, checkpoints) is left out.

            | layout | link | 2 | 8 | 64 | 1,024 |
            |---|---|---|---|---|---|

            """));
        foreach (var layout in layouts)
            foreach (var link in links)
                text.Append(CultureInfo.InvariantCulture, $"| {layout.Name} | {link.Name} |").Append(string.Concat(new[] { 2, 8, 64, 1024 }
                    .Select(ranks => Invariant($" {stepSeconds / StepSeconds(ranks, stepSeconds, layout.Bytes, link):P0} |")))).Append('\n');
        return text.ToString();
    }

    private static string Invariant(FormattableString text) => FormattableString.Invariant(text);

    private sealed record Reduction(string Name, long Bytes, int Times);

    private sealed record Efficiency(Spread One, Spread Two)
    {
        public double Share => One.Median / Two.Median;
    }
}

/// <summary>What is summed in a step.</summary>
internal sealed record LayoutBytes(string Name, long Parameters)
{
    public long Bytes => Parameters * sizeof(float);
}

/// <summary>How fast ranks sum over a link.</summary>
/// <param name="Name">Of the link.</param>
/// <param name="Ranks">That summed.</param>
/// <param name="Bytes">That each of them brought.</param>
/// <param name="Seconds">That it took.</param>
/// <param name="Latency">Seconds that one number takes.</param>
internal sealed record Link(string Name, int Ranks, long Bytes, double Seconds, double Latency)
{
    /// <summary>W: in a sum of N ranks each sends 2 (N - 1)/N of its bytes.</summary>
    public double BytesPerSecond => 2.0 * (Ranks - 1) / Ranks * Bytes / Seconds;
}
