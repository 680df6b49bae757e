using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.ML.Mobius.Files;
using Microsoft.ML.Mobius.UNet;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>
/// Steps of the single-stream networks with the sizes and settings that their PyTorch implementations were measured with, beside what those took:
/// reference.json and reference.md.
/// </summary>
internal static class ReferenceBench
{
    private const int Frames = 8, Side = 32;

    private static readonly JsonSerializerOptions s_json = new(JsonSerializerDefaults.Web) { WriteIndented = true };

    /// <summary>What was measured in PyTorch 1.13.1 (oneDNN 2.6, OpenBLAS 0.3.21, passive waiting), medians; other work ran on those two cores, too.</summary>
    private static readonly Case[] s_cases =
    [
        new("series", "the authors' serial network: spatial weights frozen, head size 64, 16 text tokens, AdamW", UNetLayout.Serial, HeadSize: 64, Tokens: 16,
            Threads: 2, TrainsAll: false, Optimizes: true, CpuSeconds: 27.33, PeakMebibytes: 3606, "beyond the resident memory before the first step"),
        new("parallel", "the authors' LayerParallel network, likewise", UNetLayout.LayerParallel, HeadSize: 64, Tokens: 16,
            Threads: 2, TrainsAll: false, Optimizes: true, CpuSeconds: 25.9, PeakMebibytes: 3783, "beyond the resident memory before the first step"),
        new("diffusers", "diffusers' UNet3DConditionModel: all weights trained, head size 32, 77 text tokens, no optimizer; OpenBLAS told the processor's kind",
            UNetLayout.Serial, HeadSize: 32, Tokens: 77, Threads: 1, TrainsAll: true, Optimizes: false, CpuSeconds: 8.8, PeakMebibytes: 3381, "of the whole process"),
    ];

    /// <param name="steps">Measured of each, after one that is not counted.</param>
    /// <param name="folder">Where the results go.</param>
    /// <param name="interrupt">Ends it; then nothing is written.</param>
    public static bool Run(int steps, string folder, CancellationToken interrupt)
    {
        Directory.CreateDirectory(folder);
        var rows = new List<Row>();
        var failures = new List<string>();
        foreach (var one in s_cases)
        {
            Console.WriteLine($"{one.Name} ...");
            try
            {
                var made = OwnProcess.Measure(new Workload(Activity.Reference, one.Name, ModelSize.All[0], steps, Frames, Side: Side), interrupt);
                var (cpu, wall) = (Spread.Of(made.CpuSeconds), Spread.Of(made.WallSeconds));
                rows.Add(new Row(one.Name, made.Threads, made.Parameters, made.Trained, cpu.Median, cpu.Min, cpu.Max, wall.Median, made.PeakBytes,
                    one.CpuSeconds, one.PeakMebibytes << 20));
                Console.WriteLine(FormattableString.Invariant($"    CPU {cpu.Median:F2} s, peak {made.PeakBytes >> 20} MiB"));
            }
            catch (MeasurementFailedException e)
            {
                failures.Add($"{one.Name} could not be measured: {e.Message}.");
                Console.Error.WriteLine(failures[^1]);
            }
        }

        var machine = Machine.This(rows.Select(row => row.Threads).DefaultIfEmpty().Max());
        string report = Report(rows, failures, machine);
        FileAside.Write(Path.Combine(folder, "reference.json"), path => File.WriteAllBytes(path,
            JsonSerializer.SerializeToUtf8Bytes(new { machine, cases = rows, failures }, s_json)));
        FileAside.Write(Path.Combine(folder, "reference.md"), path => File.WriteAllText(path, report));
        Console.WriteLine($"\n{report}\nWritten to {folder}.");
        return failures.Count == 0;
    }

    /// <summary>Measures a case in this process.</summary>
    public static Measurement Measure(Workload work)
    {
        var one = s_cases.First(one => one.Name == work.Arm);
        set_num_threads(one.Threads);
        random.manual_seed(0);
        var config = work.Size.UNet with
        {
            Layout = one.Layout, NumAttentionHeads = work.Size.Channels.Select(channels => channels / one.HeadSize).ToArray(),
        };
        using var unet = VideoUNet.Around(new SpatialStream(config), config);
        foreach (var parameter in unet.parameters())
            parameter.requires_grad |= one.TrainsAll;
        var trained = unet.parameters().Where(parameter => parameter.requires_grad).ToArray();
        using var optimizer = one.Optimizes ? optim.AdamW(trained) : null;
        unet.train();

        var peak = new MemoryPeak();
        var clock = new Clock();
        clock.Tick();
        for (int step = 0; step <= work.Count; step++)
        {
            using var scope = NewDisposeScope();
            var (z, noise, text) = (randn([1, 4, Frames, Side, Side]), randn([1, 4, Frames, Side, Side]), randn([1, one.Tokens, config.CrossAttentionDim]));
            foreach (var parameter in trained)
                parameter.grad = null;
            (unet.call(0.7 * z + 0.7 * noise, tensor(new long[] { 500 }), text) - noise).square().mean().backward();
            optimizer?.step();
            clock.Tick();
        }
        return new Measurement([.. clock.CpuSeconds.Skip(1)], [.. clock.WallSeconds.Skip(1)], one.TrainsAll ? peak.Whole() : peak.Rise(), EstimatedBytes: 0,
            unet.parameters().Sum(parameter => parameter.numel()), trained.Sum(parameter => parameter.numel()), get_num_threads());
    }

    private static string Report(IReadOnlyList<Row> rows, IReadOnlyList<string> failures, Machine machine)
    {
        var text = new StringBuilder($"""
            # A training step beside that of the PyTorch implementations

            {machine.Markdown}
            - channels 64/128/256/256, {Frames} frames, {Side}x{Side} latents, batch 1, float32; one step of each is not counted
            - PyTorch's figures were measured once, not now: PyTorch 1.13.1 with oneDNN 2.6 and OpenBLAS 0.3.21, attention without a fused kernel, waiting threads
              asleep, on two shared cores with other work beside. A newer PyTorch, with MKL and fused attention, would be faster: they are upper bounds of its cost.
            - Dropout in the temporal convolutions was on in the authors' networks and is not made here.

            | network | threads | parameters | trained | CPU s, here | PyTorch | ratio | peak MiB, here | PyTorch | ratio |
            |---|---|---|---|---|---|---|---|---|---|

            """);
        foreach (var row in rows)
            text.Append(CultureInfo.InvariantCulture, $"| {row.Name} | {row.Threads} | {row.Parameters:N0} | {row.Trained:N0} ")
                .Append(CultureInfo.InvariantCulture, $"| {row.CpuSeconds:F2} ({row.CpuSecondsMin:F2} .. {row.CpuSecondsMax:F2}) | {row.TheirCpuSeconds:F2} | {row.CpuSeconds / row.TheirCpuSeconds:F2} ")
                .Append(CultureInfo.InvariantCulture, $"| {row.PeakBytes >> 20} | {row.TheirPeakBytes >> 20} | {(double)row.PeakBytes / row.TheirPeakBytes:F2} |\n");
        text.Append('\n');
        foreach (var one in s_cases)
            text.Append(CultureInfo.InvariantCulture, $"- {one.Name}: {one.Description}; peak {one.PeakIs}\n");
        foreach (string failure in failures)
            text.Append(CultureInfo.InvariantCulture, $"\n{failure}\n");
        return text.ToString();
    }

    /// <summary>A network, how its step was made, and what that took in PyTorch.</summary>
    private sealed record Case(string Name, string Description, UNetLayout Layout, int HeadSize, int Tokens, int Threads, bool TrainsAll, bool Optimizes,
        double CpuSeconds, long PeakMebibytes, string PeakIs);

    private sealed record Row(string Name, int Threads, long Parameters, long Trained, double CpuSeconds, double CpuSecondsMin, double CpuSecondsMax,
        double WallSeconds, long PeakBytes, double TheirCpuSeconds, long TheirPeakBytes);
}
