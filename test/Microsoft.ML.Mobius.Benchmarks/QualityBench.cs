using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.ML.Data;
using Microsoft.ML.Mobius.Files;
using Microsoft.ML.Mobius.Samples.Shapes;
using Microsoft.ML.Mobius.Shapes;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>
/// What training reaches, arm by arm and seed by seed, and what it costs, from the same runs of the embedded model: quality.json and quality.md. Compared is
/// the gain, the held-out loss of the untrained start less that after the last step: noise that nothing can predict is in both.
/// </summary>
internal static class QualityBench
{
    /// <summary>The command, hidden from users, of one run in a process of its own.</summary>
    public const string Command = "learn";

    private const string Mark = "learned ";
    private const int DrawnClips = 600, Prompts = 24;

    private static readonly JsonSerializerOptions s_json = new(JsonSerializerDefaults.Web) { WriteIndented = true };

    /// <summary>The arms: the trainer's defaults but for one change each. The first is the baseline.</summary>
    public static IReadOnlyList<(string Name, string Description, Action<TextToVideoTrainer.Options> Change)> Arms { get; } =
    [
        ("serial", "one stream", options => options.Layout = UNetLayout.Serial),
        ("default", "the trainer's defaults", _ => { }),
        ("default-equal-cpu", "the same with as many steps as take the baseline's processor time", _ => { }),
        ("paper", "the paper's network: full width, streams fused at the end", options => (options.TemporalWidthDivisor, options.JoinedLevels) = (1, 0)),
        ("not-joined", "streams fused at the end", options => options.JoinedLevels = 0),
        ("full-width", "a temporal stream as wide as the spatial one", options => options.TemporalWidthDivisor = 1),
        ("half-width", "a temporal stream half as wide", options => options.TemporalWidthDivisor = 2),
        ("frozen-joined-level", "the spatial layers of the joined level frozen, too", options => options.TrainJoinedLevels = false),
        ("identity-lateral", "full width, laterals fixed as the identity", options => (options.TemporalWidthDivisor, options.Lateral) = (1, Lateral.Identity)),
        ("own-resampling", "u goes from level to level by convolutions of its own", options => options.Resampling = Resampling.Convolution),
        ("not-told", "temporal layers are told neither the text nor the frames' places", options => options.TemporalText = options.FramePositions = false),
    ];

    /// <remarks>A run that is in the folder already, of an earlier start that was ended, is not made again.</remarks>
    /// <param name="clips">A folder of captioned clips; null draws the moving shapes, whose videos are then scored, too.</param>
    /// <param name="arms">Names; the baseline is always run.</param>
    /// <param name="seeds">Of the runs.</param>
    /// <param name="steps">Of a run.</param>
    /// <param name="folder">Where the results go.</param>
    /// <param name="interrupt">Ends it; then nothing is written.</param>
    public static bool Run(string? clips, IReadOnlyList<string> arms, IReadOnlyList<int> seeds, int steps, string folder, CancellationToken interrupt)
    {
        Directory.CreateDirectory(Path.Combine(folder, "runs"));
        bool shapes = clips is null;
        if (shapes && !File.Exists(Path.Combine(folder, "clips", "captions.jsonl")))
            ClipFolder.Write(Path.Combine(folder, "clips"), DrawnClips, seed: 0);
        clips ??= Path.Combine(folder, "clips");
        var runs = new List<Learned>();
        foreach (int seed in seeds)
            foreach (var (arm, _, _) in Arms.Where(arm => arm.Name == Arms[0].Name || arms.Contains(arm.Name)))
            {
                int count = arm == "default-equal-cpu"
                    ? (int)Math.Round(steps * Find(runs, Arms[0].Name, seed).CpuSeconds / Find(runs, "default", seed).CpuSeconds) : steps;
                Console.WriteLine($"seed {seed}: {arm}, {count} steps ...");
                string kept = Path.Combine(folder, "runs", $"{arm}-{seed}-{count}.json");
                var run = File.Exists(kept) ? JsonSerializer.Deserialize<Learned>(File.ReadAllBytes(kept))!
                    : InOwnProcess(new Lesson(clips!, shapes, arm, seed, count, Path.Combine(folder, "cache")), interrupt);
                FileAside.Write(kept, path => File.WriteAllBytes(path, JsonSerializer.SerializeToUtf8Bytes(run)));
                runs.Add(run);
                Console.WriteLine(Invariant($"    held-out loss {run.Before:F4} -> {run.After:F4}, CPU {run.CpuSeconds:F0} s, peak {run.PeakBytes >> 20} MiB"));
            }

        string report = Report(runs, clips!, shapes, steps);
        FileAside.Write(Path.Combine(folder, "quality.json"), path => File.WriteAllBytes(path, JsonSerializer.SerializeToUtf8Bytes(runs, s_json)));
        FileAside.Write(Path.Combine(folder, "quality.md"), path => File.WriteAllText(path, report));
        Console.WriteLine($"\n{report}\nWritten to {Path.Combine(folder, "quality.md")} and quality.json.");
        return true;
    }

    /// <summary>What the other process does.</summary>
    public static int Answer(string lesson)
    {
        Console.WriteLine(Mark + JsonSerializer.Serialize(Learn(JsonSerializer.Deserialize<Lesson>(lesson)!)));
        return 0;
    }

    private static Learned Learn(Lesson lesson)
    {
        var clock = new Clock();
        var options = new TextToVideoTrainer.Options
        {
            Steps = lesson.Steps, Seed = lesson.Seed, EvaluateEvery = lesson.Steps, CacheFolder = lesson.Cache, FrameRate = ShapeSpec.FrameRate, Progress = clock,
        };
        Arms.Single(arm => arm.Name == lesson.Arm).Change(options);
        var mlContext = new MLContext(lesson.Seed);
        using var model = mlContext.Transforms.TextToVideo(options).Fit(mlContext.Data.LoadFromEnumerable(CaptionedClip.ReadFolder(lesson.Clips)));
        var heldOut = model.History.HeldOut;
        return new Learned(lesson.Arm, lesson.Seed, lesson.Steps, heldOut[0].Loss, heldOut[^1].Loss, clock.CpuSeconds.Sum(), model.History.PeakMemoryBytes,
            model.TrainedParameterCount, lesson.Shapes ? Score(mlContext, model, lesson.Seed) : null);
    }

    /// <summary>Shares of videos with the right colour, shape and motion.</summary>
    private static double[] Score(MLContext mlContext, TextToVideoTransformer model, int seed)
    {
        var asked = PromptSet.Choose(new Random(seed), Prompts);
        var videos = model.Transform(mlContext.Data.LoadFromEnumerable(asked.Select(one => new Prompt { Caption = one.Caption }))).GetColumn<VideoClip>("Video");
        var scores = videos.Zip(asked, (video, one) => AttributeEvaluator.Evaluate(video.Pixels.Span, video.FrameCount, video.Height, video.Width, one)).ToList();
        return [scores.Average(s => s.Colour ? 1.0 : 0), scores.Average(s => s.Shape ? 1.0 : 0), scores.Average(s => s.Motion ? 1.0 : 0)];
    }

    private static string Report(IReadOnlyList<Learned> runs, string clips, bool shapes, int steps)
    {
        string of = shapes ? $"{DrawnClips} drawn clips of moving shapes" : $"the clips of {Path.GetFileName(Path.TrimEndingDirectorySeparator(clips))}";
        var text = new StringBuilder($"""
            # What training reaches

            {Machine.This(TorchSharp.torch.get_num_threads()).Markdown}
            - the embedded model on {of}: {steps} steps of 8 clips of 8 frames of 64x64 pixels; every run in a process of its own
            - Gain: held-out loss of the untrained start less that after the last step; mean over the seeds (least .. most). Ratio: to {Arms[0].Name}'s, seed by seed.
            - CPU: seconds of all steps but the first.{(shapes ? $" Right: of {Prompts} videos, half of combinations never trained." : "")}

            | arm | seeds | steps | gain | ratio of gains | CPU s | ratio of CPU | peak MiB | trained |{(shapes ? " colour right | shape right | motion right |" : "")}
            |---|---|---|---|---|---|---|---|---|{(shapes ? "---|---|---|" : "")}

            """);
        foreach (var (arm, _, _) in Arms)
        {
            var own = runs.Where(run => run.Arm == arm).ToList();
            if (own.Count == 0)
                continue;
            string Over(Func<Learned, double> value, string form) => Range(own.Select(value), form);
            string Ratio(Func<Learned, double> value) => Range(own.Select(run => value(run) / value(Find(runs, Arms[0].Name, run.Seed))), "P1");
            text.Append(CultureInfo.InvariantCulture, $"| {arm} | {string.Join(' ', own.Select(run => run.Seed))} | {Over(run => run.Steps, "F0")} | {Over(run => run.Gain, "F4")} ")
                .Append(CultureInfo.InvariantCulture, $"| {Ratio(run => run.Gain)} | {Over(run => run.CpuSeconds, "F0")} | {Ratio(run => run.CpuSeconds)} | {own.Max(run => run.PeakBytes) >> 20} | {own[0].Trained:N0} |");
            if (shapes)
                text.Append(CultureInfo.InvariantCulture, $" {Over(run => run.Right![0], "P1")} | {Over(run => run.Right![1], "P1")} | {Over(run => run.Right![2], "P1")} |");
            text.Append('\n');
        }
        text.Append('\n');
        foreach (var (arm, description, _) in Arms.Where(arm => runs.Any(run => run.Arm == arm.Name)))
            text.Append(CultureInfo.InvariantCulture, $"- {arm}: {description}\n");
        return text.ToString();
    }

    private static string Range(IEnumerable<double> values, string form)
    {
        double[] all = [.. values];
        string Text(double value) => value.ToString(form, CultureInfo.InvariantCulture);
        return all.Length == 1 || all.Min() == all.Max() ? Text(all[0]) : $"{Text(all.Average())} ({Text(all.Min())} .. {Text(all.Max())})";
    }

    private static Learned Find(IEnumerable<Learned> runs, string arm, int seed) => runs.Single(run => run.Arm == arm && run.Seed == seed);

    private static string Invariant(FormattableString text) => FormattableString.Invariant(text);

    private static Learned InOwnProcess(Lesson lesson, CancellationToken interrupt)
        => OwnProcess.Ask<Learned>(Command, JsonSerializer.Serialize(lesson), Mark, interrupt);

    private sealed class Prompt
    {
        public string Caption { get; set; } = "";
    }

    private sealed record Lesson(string Clips, bool Shapes, string Arm, int Seed, int Steps, string Cache);

    /// <param name="Arm">Its name.</param>
    /// <param name="Seed">Of the run.</param>
    /// <param name="Steps">Of the run.</param>
    /// <param name="Before">Held-out loss of the untrained start.</param>
    /// <param name="After">After the last step.</param>
    /// <param name="CpuSeconds">Of all steps but the first.</param>
    /// <param name="PeakBytes">The most memory the process had resident.</param>
    /// <param name="Trained">Parameters.</param>
    /// <param name="Right">Shares of videos with the right colour, shape and motion; null where the clips are not the shapes.</param>
    private sealed record Learned(string Arm, int Seed, int Steps, double Before, double After, double CpuSeconds, long PeakBytes, long Trained, double[]? Right)
    {
        public double Gain => Before - After;
    }
}
