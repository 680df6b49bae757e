using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.ML.Mobius.Files;
using Microsoft.ML.Mobius.Torch;
using Microsoft.ML.Mobius.UNet;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>
/// Steps of the single-stream networks with the sizes and settings of their PyTorch implementations, beside what those took where that was measured:
/// reference.json and reference.md.
/// </summary>
internal static class ReferenceBench
{
    private const int Frames = 8, Side = 32;

    private static readonly JsonSerializerOptions s_json = new(JsonSerializerDefaults.Web) { WriteIndented = true };

    private static readonly Case[] s_cases =
    [
        new("series", "the authors' serial network: spatial weights frozen, head size 64, 16 text tokens, AdamW",
            UNetLayout.Serial, HeadSize: 64, Tokens: 16, Threads: 2, Batch: 1, Kind.Training),
        new("parallel", "the authors' LayerParallel network, likewise",
            UNetLayout.LayerParallel, HeadSize: 64, Tokens: 16, Threads: 2, Batch: 1, Kind.Training),
        new("diffusers", "diffusers' UNet3DConditionModel: all weights trained, head size 32, 77 text tokens, no optimizer",
            UNetLayout.Serial, HeadSize: 32, Tokens: 77, Threads: 1, Batch: 1, Kind.Gradients),
        new("denoising", "diffusers' UNet3DConditionModel: forwards without gradients, head size 32, 77 text tokens; a step of generating without guidance",
            UNetLayout.Serial, HeadSize: 32, Tokens: 77, Threads: 2, Batch: 1, Kind.Denoising),
        new("denoising-guided", "the same with batch 2; a step of generating with guidance",
            UNetLayout.Serial, HeadSize: 32, Tokens: 77, Threads: 2, Batch: 2, Kind.Denoising),
    ];

    /// <param name="steps">Measured of each, after one that is not counted.</param>
    /// <param name="pytorch">A file of what the cases took in PyTorch, by their names, each as <see cref="InPyTorch"/>; null if that is not known.</param>
    /// <param name="folder">Where the results go.</param>
    /// <param name="interrupt">Ends it; then nothing is written.</param>
    /// <exception cref="InvalidDataException">The file is something else.</exception>
    public static bool Run(int steps, string? pytorch, string folder, CancellationToken interrupt)
    {
        var theirs = pytorch is null ? [] : Read(pytorch);
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
                    theirs.GetValueOrDefault(one.Name)));
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
            parameter.requires_grad = one.Kind == Kind.Gradients || (one.Kind == Kind.Training && parameter.requires_grad);
        var trained = unet.parameters().Where(parameter => parameter.requires_grad).ToArray();
        using var optimizer = one.Kind == Kind.Training ? optim.AdamW(trained) : null;
        unet.train(one.Kind != Kind.Denoising);
        using var withoutGradients = one.Kind == Kind.Denoising ? no_grad() : null;

        var peak = new MemoryPeak();
        var clock = new Clock();
        clock.Tick();
        for (int step = 0; step <= work.Count; step++)
        {
            using var scope = NewDisposeScope();
            var (z, noise, text) = (Latents(), Latents(), randn([one.Batch, one.Tokens, config.CrossAttentionDim]));
            foreach (var parameter in trained)
                parameter.grad = null;
            var predicted = unet.call(0.7 * z + 0.7 * noise, full([one.Batch], 500, int64), text);
            if (one.Kind == Kind.Denoising)
                ProcessMemory.ReturnUnusedIfGrown();                                      // as generating does between steps
            else
                (predicted - noise).square().mean().backward();
            optimizer?.step();
            clock.Tick();
        }
        return new Measurement([.. clock.CpuSeconds.Skip(1)], [.. clock.WallSeconds.Skip(1)], one.Kind == Kind.Gradients ? peak.Whole() : peak.Rise(), EstimatedBytes: 0,
            unet.parameters().Sum(parameter => parameter.numel()), trained.Sum(parameter => parameter.numel()), get_num_threads());

        Tensor Latents() => randn([one.Batch, 4, Frames, Side, Side]);
    }

    private static Dictionary<string, InPyTorch> Read(string file)
    {
        try
        {
            var read = JsonSerializer.Deserialize<Dictionary<string, InPyTorch>>(File.ReadAllText(file), s_json) ?? [];
            return read.Keys.FirstOrDefault(name => s_cases.All(one => one.Name != name)) is not { } unknown ? read
                : throw new JsonException($"there is no case '{unknown}'; there are {string.Join(", ", s_cases.Select(one => one.Name))}.");
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"'{file}' has no figures of PyTorch's: {e.Message}", e);
        }
    }

    private static string Report(IReadOnlyList<Row> rows, IReadOnlyList<string> failures, Machine machine)
    {
        bool beside = rows.Any(row => row.Theirs is not null);
        var text = new StringBuilder($"""
            # Steps {(beside ? "beside those" : "with the settings")} of the PyTorch implementations

            {machine.Markdown}
            - channels 64/128/256/256, {Frames} frames, {Side}x{Side} latents, batch 1 unless told, float32; one step of each is not counted
            - Dropout in the temporal convolutions, which the authors' networks have, is not made here.

            | case | threads | parameters | trained | CPU s{(beside ? ", here | PyTorch | ratio" : "")} | peak MiB{(beside ? ", here | PyTorch | ratio" : "")} |
            |---|---|---|---|---|---|{(beside ? "---|---|---|---|" : "")}

            """);
        foreach (var row in rows)
        {
            text.Append(CultureInfo.InvariantCulture, $"| {row.Name} | {row.Threads} | {row.Parameters:N0} | {row.Trained:N0} ")
                .Append(CultureInfo.InvariantCulture, $"| {row.CpuSeconds:F2} ({row.CpuSecondsMin:F2} .. {row.CpuSecondsMax:F2}) ")
                .Append(Beside(row.CpuSeconds, row.Theirs?.CpuSeconds, "F2"))
                .Append(CultureInfo.InvariantCulture, $"| {row.PeakBytes >> 20} ")
                .Append(Beside(row.PeakBytes / 1048576.0, row.Theirs?.PeakMebibytes, "F0"))
                .Append("|\n");
        }
        text.Append('\n');
        foreach (var one in s_cases)
        {
            text.Append(CultureInfo.InvariantCulture, $"- {one.Name}: {one.Description}; peak {(one.Kind == Kind.Gradients ? "of the whole process" : "beyond the resident memory before the first step")}");
            text.Append(rows.FirstOrDefault(row => row.Name == one.Name)?.Theirs is { } theirs ? $". PyTorch's: {theirs.About}\n" : "\n");
        }
        foreach (string failure in failures)
            text.Append(CultureInfo.InvariantCulture, $"\n{failure}\n");
        return text.ToString();

        string Beside(double ours, double? theirs, string form) => !beside ? "" : theirs is { } known
            ? string.Create(CultureInfo.InvariantCulture, $"| {known.ToString(form, CultureInfo.InvariantCulture)} | {ours / known:F2} ") : "| - | - ";
    }

    /// <summary>What a step does.</summary>
    private enum Kind
    {
        /// <summary>Gradients of the temporal layers, and AdamW.</summary>
        Training,

        /// <summary>Gradients of all weights.</summary>
        Gradients,

        /// <summary>A forward pass without gradients.</summary>
        Denoising,
    }

    /// <summary>A network, and how its step is made.</summary>
    private sealed record Case(string Name, string Description, UNetLayout Layout, int HeadSize, int Tokens, int Threads, int Batch, Kind Kind);

    /// <summary>What a case took in PyTorch.</summary>
    private sealed class InPyTorch
    {
        /// <summary>Processor time of a step, over all threads.</summary>
        public required double CpuSeconds { get; init; }

        /// <summary>Of what the report says at the case.</summary>
        public required double PeakMebibytes { get; init; }

        /// <summary>One line: versions, machine, settings.</summary>
        public required string About { get; init; }
    }

    private sealed record Row(string Name, int Threads, long Parameters, long Trained, double CpuSeconds, double CpuSecondsMin, double CpuSecondsMax,
        double WallSeconds, long PeakBytes, InPyTorch? Theirs);
}
