using System.Diagnostics;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Torch;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.Video;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Cli.Benching;

/// <summary>What is to be measured: a video, or training on clips of noise.</summary>
/// <param name="Trains">Whether it is training.</param>
/// <param name="Model">Null: the embedded one.</param>
/// <param name="Frames">Per clip; null, as with the sides: as trained.</param>
/// <param name="Width">In pixels.</param>
/// <param name="Height">In pixels.</param>
/// <param name="BatchSize">Clips per batch.</param>
/// <param name="Count">Steps that are measured, after one more that is not.</param>
/// <param name="Gpu">Null: the CPU.</param>
internal sealed record Workload(bool Trains, string? Model, int? Frames, int? Width, int? Height, int BatchSize, int Count, int? Gpu)
{
    /// <summary>Makes the measurement in this process.</summary>
    public Measurement Measure(Terminal terminal)
    {
        ReadLibraries();
        long before = Environment.WorkingSet;
        var mlContext = terminal.Context(seed: 0, Gpu);
        var measured = Trains ? Training(mlContext, terminal.Token) : Generating(mlContext, terminal);
        return measured with { PeakBytes = ProcessMemory.Peak() - before, Threads = get_num_threads() };
    }

    private Measurement Generating(MLContext mlContext, Terminal terminal)
    {
        using var opened = OpenedModel.Open(mlContext, Model, terminal);
        var own = opened.Video.Generation;
        var how = own with { FrameCount = Frames ?? own.FrameCount, Width = Width ?? own.Width, Height = Height ?? own.Height };
        var clock = new Clock();
        clock.Tick();
        var few = how with { SamplingSteps = Math.Min(Count + 1, how.SamplingSteps) };
        opened.Video.Generate("a measured video", few, _ => clock.Tick(), terminal.Token);
        clock.Tick();

        // The text encoder's time is in that of the first step; the autoencoder's comes after the last.
        var steps = clock.Spans[1..^1];
        var step = Clock.Median(steps.Length > 0 ? steps : clock.Spans[..1]);
        double others = clock.Spans[0].Wall - step.Wall + clock.Spans[^1].Wall;
        return new Measurement(how.FrameCount, how.Width, how.Height, step.Wall, step.Cpu)
        {
            Steps = how.SamplingSteps, Seconds = Math.Max(0, others) + how.SamplingSteps * step.Wall,
        };
    }

    private Measurement Training(MLContext mlContext, CancellationToken token)
    {
        var start = Model is null ? PretrainedModel.Embedded() : PretrainedModel.From(Model, tokenizer: null);
        var clock = new Clock();
        var (frames, width, height) = (Frames ?? start.FrameCount, Width ?? start.Side, Height ?? start.Side);
        var trainer = new TextToVideoTrainer(mlContext, new TextToVideoTrainer.Options
        {
            Steps = Count + 1, BatchSize = BatchSize, FrameCount = frames, Width = width, Height = height,
            HeldOutFraction = 0, EvaluateEvery = 0, Progress = clock, CancellationToken = token,
        }, start);
        long estimated = trainer.EstimateMemory().PeakBytes;
        var clips = Enumerable.Range(0, BatchSize).Select(i => Noise(i, frames, width, height));
        using var _ = trainer.Fit(mlContext.Data.LoadFromEnumerable(clips));
        var step = Clock.Median(clock.Spans);
        return new Measurement(frames, width, height, step.Wall, step.Cpu) { BatchSize = BatchSize, EstimatedBytes = estimated };
    }

    private static Row Noise(int seed, int frames, int width, int height)
    {
        var pixels = new byte[frames * height * width * 3];
        new Random(seed).NextBytes(pixels);
        return new Row { Caption = $"clip {seed}", Clip = new VideoClip(pixels, frames, height, width, frameRate: 8) };
    }

    /// <summary>The code of libraries is read into memory when it is first used: by this, and not by what is measured.</summary>
    private static void ReadLibraries()
    {
        using var scope = NewDisposeScope();
        var x = randn([1, 4, 8, 8], requires_grad: true);
        var y = nn.functional.conv2d(x, randn(4, 4, 3, 3), padding: [1, 1]);
        y = nn.functional.silu(nn.functional.group_norm(y, 2)).flatten(2);
        y = nn.functional.scaled_dot_product_attention(y, y, y).matmul(randn(64, 64));
        nn.functional.layer_norm(y, [64]).square().mean().backward();
        optim.AdamW([new TorchSharp.Modules.Parameter(randn(4, 4))]).step();
    }

    private sealed class Row
    {
        public string Caption { get; set; } = "";
        [VideoType] public VideoClip? Clip { get; set; }
    }
}

/// <summary>What came out.</summary>
/// <param name="Frames">Per clip.</param>
/// <param name="Width">In pixels.</param>
/// <param name="Height">In pixels.</param>
/// <param name="StepSeconds">That a step takes: the median.</param>
/// <param name="StepCpuSeconds">Of all processors together: the median.</param>
internal sealed record Measurement(int Frames, int Width, int Height, double StepSeconds, double StepCpuSeconds)
{
    /// <summary>Clips per training step.</summary>
    public int BatchSize { get; init; }

    /// <summary>Denoising steps of a video.</summary>
    public int Steps { get; init; }

    /// <summary>That a video of so many steps takes.</summary>
    public double Seconds { get; init; }

    /// <summary>Most memory of the process, beyond that before the model was read.</summary>
    public long PeakBytes { get; init; }

    /// <summary>What the trainer said beforehand.</summary>
    public long EstimatedBytes { get; init; }

    /// <summary>That torch computed with.</summary>
    public int Threads { get; init; }
}

/// <summary>Takes the time from tick to tick.</summary>
internal sealed class Clock : IProgress<TrainingProgress>
{
    private readonly List<(long Wall, TimeSpan Cpu)> _ticks = [];

    /// <summary>Seconds between neighbouring ticks, of the clock and of all processors together.</summary>
    public (double Wall, double Cpu)[] Spans => [.. _ticks.Zip(_ticks.Skip(1), (from, to)
        => (Stopwatch.GetElapsedTime(from.Wall, to.Wall).TotalSeconds, (to.Cpu - from.Cpu).TotalSeconds))];

    public static (double Wall, double Cpu) Median((double Wall, double Cpu)[] spans)
        => (Median(spans.Select(span => span.Wall)), Median(spans.Select(span => span.Cpu)));

    public void Report(TrainingProgress value) => Tick();

    private static double Median(IEnumerable<double> seconds)
    {
        double[] sorted = [.. seconds.Order()];
        return sorted[sorted.Length / 2];
    }

    public void Tick()
    {
        using var process = Process.GetCurrentProcess();
        _ticks.Add((Stopwatch.GetTimestamp(), process.TotalProcessorTime));
    }
}
