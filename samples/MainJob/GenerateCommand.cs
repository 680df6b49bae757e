using System.Diagnostics;
using System.Globalization;
using Microsoft.ML.Mobius.Samples.Shapes;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Samples.MainJob;

/// <summary>Loads the saved model as any program would, generates a video per prompt, and writes videos, contact sheet and summary.</summary>
internal static class GenerateCommand
{
    private const int RowsOnSheet = 24;

    public static void Run(JobSettings settings, CancellationToken interrupt)
    {
        var clock = Stopwatch.StartNew();
        OutputFolder.Check(settings.Out);
        VideoReader.CheckFfmpeg();
        IReadOnlyList<string> prompts = PromptFile.Read(settings.PromptFile);
        Summary summary = Summary.Read(settings.SummaryFile);

        MLContext mlContext = JobContext.Create(settings.Seed);
        ITransformer model = mlContext.Model.Load(settings.ModelFile, out _);
        using var nativeMemory = model as IDisposable;
        IDataView generated = model.Transform(mlContext.Data.LoadFromEnumerable(prompts.Select(prompt => new Prompt { Caption = prompt })));

        DeleteOldVideos(settings.VideoFolder);
        var rows = new List<ContactSheetRow>();
        foreach (Generated row in mlContext.Data.CreateEnumerable<Generated>(generated, reuseRowObject: false))
        {
            interrupt.ThrowIfCancellationRequested();
            string prompt = prompts[rows.Count];
            rows.Add(new ContactSheetRow(prompt, row.Video));
            VideoWriter.Write(VideoFile(settings, rows.Count), row.Video, cancellationToken: interrupt);
            Show(rows.Count, prompts.Count, prompt);
        }
        ContactSheet.Write(settings.ContactSheetFile, [.. rows.Take(RowsOnSheet)]);

        IReadOnlyList<AttributeScores> scores = Scores(settings, rows);
        using var process = Process.GetCurrentProcess();
        (summary with
        {
            Settings = summary.Settings with { Out = settings.Out, Prompts = settings.Prompts },
            Generation = new GenerationSummary(
                rows.Count, clock.Elapsed.TotalSeconds, process.PeakWorkingSet64, scores.Count == 0 ? null : Accuracy.Of(scores)),
        }).Write(settings.SummaryFile);
        if (scores.Count > 0)
            Console.WriteLine($"\n{AttributeScores.Table(scores)}");
        Console.WriteLine($"""

            model          {settings.ModelFile}
            videos         {settings.VideoFolder} ({rows.Count})
            contact sheet  {settings.ContactSheetFile}
            loss curve     {settings.LossFile}
            summary        {settings.SummaryFile}
            """);
    }

    /// <summary>What the written files show; empty unless every prompt is a caption of the shapes clips.</summary>
    private static IReadOnlyList<AttributeScores> Scores(JobSettings settings, List<ContactSheetRow> rows)
    {
        var scores = new List<AttributeScores>();
        foreach (var (caption, video) in rows)
        {
            if (!ShapeSpec.TryParse(caption, out ShapeCombination combination))
                return [];
            var form = new VideoReadOptions
            {
                FrameCount = video.FrameCount, Width = video.Width, Height = video.Height, FrameRate = video.FrameRate, ShortClip = ShortClip.Refuse,
            };
            VideoClip written = VideoReader.Read(VideoFile(settings, scores.Count + 1), form);
            scores.Add(AttributeEvaluator.Evaluate(written.Pixels.Span, written.FrameCount, written.Height, written.Width, combination));
        }
        return scores;
    }

    private static string VideoFile(JobSettings settings, int number) => Path.Combine(settings.VideoFolder, $"{number:D3}.mp4");

    // Of an earlier run with more prompts, say.
    private static void DeleteOldVideos(string folder)
    {
        Directory.CreateDirectory(folder);
        foreach (string file in Directory.EnumerateFiles(folder, "*.mp4"))
        {
            if (int.TryParse(Path.GetFileNameWithoutExtension(file), NumberStyles.None, CultureInfo.InvariantCulture, out _))
                File.Delete(file);
        }
    }

    private static void Show(int done, int all, string prompt)
    {
        if (Console.IsOutputRedirected)
            Console.WriteLine($"{done}/{all}  {prompt}");
        else
            Console.Write($"\r{done}/{all}  {prompt}\u001b[K{(done == all ? "\n" : "")}");
    }

    private sealed class Prompt
    {
        public required string Caption { get; init; }
    }

    private sealed class Generated
    {
        [VideoType]
        public VideoClip Video { get; set; } = null!;
    }
}
