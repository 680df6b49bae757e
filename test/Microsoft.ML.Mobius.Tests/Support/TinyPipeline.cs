using System.Reflection;
using Microsoft.ML.Data;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Tests;

/// <summary>An MLContext, what it logs, and trainers of the tiny model on clips in memory.</summary>
internal sealed class TinyPipeline
{
    public const int Frames = 2, Side = 16;

    public TinyPipeline(int? seed = 3)
    {
        ML = new MLContext(seed);
        ML.Log += (_, log) => Log.Add($"{log.Kind}: {log.RawMessage}");
    }

    public MLContext ML { get; }

    public List<string> Log { get; } = [];

    public bool Logged(string kind, string part)
        => Log.Any(line => line.StartsWith(kind, StringComparison.Ordinal) && line.Contains(part, StringComparison.Ordinal));

    public sealed class Row
    {
        public string Caption { get; set; } = "";
        [VideoType] public VideoClip? Clip { get; set; }
        public string Path { get; set; } = "";
        public string Negative { get; set; } = "";
        public long Seed { get; set; }
    }

    public sealed class Prompt
    {
        public string Caption { get; set; } = "";
    }

    public sealed class Answer
    {
        public string Caption { get; set; } = "";
        [VideoType(Frames, Side, Side)] public VideoClip? Video { get; set; }
    }

    /// <summary>So tiny a model has nothing to share out; on a busy machine its threads would but wait for each other.</summary>
    public static void UseOneThread() => TorchSharp.torch.set_num_threads(1);

    public static void UseUsualThreads() => TorchSharp.torch.set_num_threads(2);

    public static TextToVideoTrainer.Options Options(Action<TextToVideoTrainer.Options>? change = null)
    {
        var options = new TextToVideoTrainer.Options
        {
            FrameCount = Frames, Height = Side, Width = Side, Steps = 2, BatchSize = 2, SamplingSteps = 2, HeldOutFraction = 0.25, WarmupSteps = 1,
            TemporalWidthDivisor = 2, Layout = UNetLayout.StreamParallel,
        };
        change?.Invoke(options);
        return options;
    }

    public TextToVideoTrainer Trainer(Action<TextToVideoTrainer.Options>? change = null) => new(ML, Options(change), TinyModel.Base);

    public IDataView Clips(int count = 4) => ML.Data.LoadFromEnumerable(Enumerable.Range(0, count).Select(i => new Row
    {
        Caption = $"clip {i}", Clip = SmallVideos.Gradient(Frames, Side, Side), Seed = i,
    }));

    public IDataView View(params Row[] rows) => ML.Data.LoadFromEnumerable(rows);

    public IDataView Prompts(params string[] prompts) => ML.Data.LoadFromEnumerable(prompts.Select(prompt => new Prompt { Caption = prompt }));

    /// <summary>The untrained start: the quickest transformer.</summary>
    public TextToVideoTransformer Untrained(Action<TextToVideoTrainer.Options>? change = null) => Trainer(options =>
    {
        options.Steps = 0;
        change?.Invoke(options);
    }).Fit(View());

    /// <summary>MLContext.CancelExecution is not public; hosts of applications reach it so.</summary>
    public void Cancel() => typeof(MLContext).GetMethod("CancelExecution", BindingFlags.Instance | BindingFlags.NonPublic)!.Invoke(ML, null);

    /// <summary>A view's columns as estimators see them; ML.NET makes this within its own Fit methods only.</summary>
    public static SchemaShape Shape(IDataView view)
        => (SchemaShape)typeof(SchemaShape).GetMethod("Create", BindingFlags.Static | BindingFlags.NonPublic)!.Invoke(null, [view.Schema])!;

    public static VideoClip[] Videos(IDataView view) => [.. view.GetColumn<VideoClip>("Video")];

    public static void AssertSame(VideoClip expected, VideoClip actual)
        => Assert.IsTrue(expected.Pixels.Span.SequenceEqual(actual.Pixels.Span), "The videos differ.");

    public static void AssertOther(VideoClip expected, VideoClip actual)
        => Assert.IsFalse(expected.Pixels.Span.SequenceEqual(actual.Pixels.Span), "The videos are the same.");
}
