using Microsoft.ML.Data;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Video;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>Makes one measurement in this process, through the trainer and the transformer as any program uses them.</summary>
internal static class Measuring
{
    /// <summary>Steps of the denoising loop per video.</summary>
    public const int SamplingSteps = 10;

    private static readonly ModelSize s_tiny = new("tiny", [32, 32, 32, 32], 32);

    public static Measurement Run(Workload work)
    {
        if (work.Activity == Activity.Reference)
            return ReferenceBench.Measure(work);

        // The code of libraries is read into memory when it is first used: by this, and not by what is measured.
        Measure(work with { Size = s_tiny, Side = 8, Count = 1 });
        return Measure(work);
    }

    private static Measurement Measure(Workload work)
    {
        var way = work.Activity == Activity.Sampling ? Way.Named(work.Arm) : null;
        work = work with { Arm = way?.Arm ?? work.Arm };
        var clock = new Clock();
        long others = 0;
        var options = Options(work);
        options.Progress = clock;
        var mlContext = new MLContext(seed: 0) { GpuDeviceId = work.OnGpu ? 0 : null };
        var arm = Arm.Named(work.Arm);
        bool cut = options.Layout == UNetLayout.Serial;
        var start = work.Size.Start(image => others = Count(image.TextEncoder) + Count(image.Autoencoder), cut ? arm.Inner(work.Size) / Math.Max(1, work.WidthDivisor) : Arm.All32);
        var trainer = new TextToVideoTrainer(mlContext, options, start);
        long estimated = trainer.EstimateMemory().PeakBytes;
        var data = mlContext.Data.LoadFromEnumerable(Clips(work));
        var peak = new MemoryPeak();
        using var model = trainer.Fit(data);
        if (way is not null)
        {
            model.Generation = way.Change(model.Generation);
            estimated = model.EstimateMemory().PeakBytes;
            Generate(mlContext, model, work.Count + 1, clock);
        }
        return new Measurement(
            clock.CpuSeconds, clock.WallSeconds, work.OnGpu ? GpuMemory.UsedBytes(0) : peak.Rise(), estimated, model.ParameterCount - others, model.TrainedParameterCount, get_num_threads());
    }

    /// <summary>The arm's options for a model and clips of that size.</summary>
    public static TextToVideoTrainer.Options Options(Workload work)
    {
        var options = new TextToVideoTrainer.Options
        {
            Steps = work.Activity == Activity.Training ? work.Count + 1 : 0, BatchSize = work.Batch, FrameCount = work.Frames, Height = work.Side, Width = work.Side,
            HeldOutFraction = 0, EvaluateEvery = 0, SamplingSteps = SamplingSteps,
        };
        Arm.Named(work.Arm).Change(options);
        if (work.WidthDivisor > 0)
            options.TemporalWidthDivisor = work.WidthDivisor;
        return options;
    }

    private static void Generate(MLContext mlContext, TextToVideoTransformer model, int count, Clock clock)
    {
        var prompts = mlContext.Data.LoadFromEnumerable(Enumerable.Range(0, count).Select(i => new Row { Caption = $"video {i}" }));
        foreach (var _ in model.Transform(prompts).GetColumn<VideoClip>("Video"))
            clock.Tick();
    }

    private static long Count(nn.Module module) => module.parameters().Sum(parameter => parameter.numel());

    private static IEnumerable<Row> Clips(Workload work)
    {
        var random = new Random(0);
        for (int i = 0; i < work.Batch; i++)
        {
            var pixels = new byte[work.Frames * work.Side * work.Side * 3];
            random.NextBytes(pixels);
            yield return new Row { Caption = $"clip {i}", Clip = new VideoClip(pixels, work.Frames, work.Side, work.Side, frameRate: 8) };
        }
    }

    private sealed class Row
    {
        public string Caption { get; set; } = "";
        [VideoType] public VideoClip? Clip { get; set; }
    }
}
