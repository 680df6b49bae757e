using System.Diagnostics;
using System.Globalization;
using Microsoft.ML.Mobius.Shapes;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Samples.MainJob;

/// <summary>Loads the saved model as any program would, generates a video per prompt, and writes videos, contact sheet and summary.</summary>
internal static class GenerateCommand
{
    private const int RowsOnSheet = 24;

    /// <param name="settings">What was asked for.</param>
    /// <param name="interrupt">Ends it.</param>
    /// <param name="fitted">The model, where this process has it; null loads the one that was saved.</param>
    public static void Run(JobSettings settings, CancellationToken interrupt, ITransformer? fitted = null)
    {
        var clock = Stopwatch.StartNew();
        OutputFolder.Check(settings.Out);
        VideoReader.CheckFfmpeg();
        IReadOnlyList<string> prompts = PromptFile.Read(settings.PromptFile);
        Summary? summary = Ranks.IsFirst ? Summary.Read(settings.SummaryFile) : null;

        MLContext mlContext = JobContext.Create(settings.Seed ?? 0);
        ITransformer model = fitted ?? Load(mlContext, settings.ModelFile);
        using var nativeMemory = fitted is null ? model as IDisposable : null;
        IDataView data = mlContext.Data.LoadFromEnumerable(prompts.Select((prompt, i) => new Prompt { Name = $"{i + 1:D3}", Caption = prompt }));
        IDataView generated = model.Transform(data);
        IDataView saved = mlContext.Transforms.SaveVideos("Path", "Video", settings.VideoFolder, fileNameColumn: "Name").Fit(generated).Transform(generated);

        if (Ranks.IsFirst)
            DeleteOldVideos(settings.VideoFolder);
        var videos = new List<Generated>();
        foreach (Generated video in mlContext.Data.CreateEnumerable<Generated>(saved, reuseRowObject: false))
        {
            interrupt.ThrowIfCancellationRequested();
            videos.Add(video);
            Show(videos.Count, prompts.Count, video.Caption);
        }
        if (summary is null)
            return;
        ContactSheet.Write(settings.ContactSheetFile, [.. videos.Take(RowsOnSheet).Select(video => new ContactSheetRow(video.Caption, video.Video))]);

        IReadOnlyList<AttributeScores> scores = Scores(videos);
        using var process = Process.GetCurrentProcess();
        (summary with
        {
            Settings = summary.Settings with { Out = settings.Out, Prompts = settings.Prompts },
            Generation = new GenerationSummary(
                videos.Count, clock.Elapsed.TotalSeconds, process.PeakWorkingSet64, scores.Count == 0 ? null : Accuracy.Of(scores)),
        }).Write(settings.SummaryFile);
        if (scores.Count > 0)
            Console.WriteLine($"\n{AttributeScores.Table(scores)}");
        Console.WriteLine($"""

            model          {settings.ModelFile}
            videos         {settings.VideoFolder} ({videos.Count})
            contact sheet  {settings.ContactSheetFile}
            loss curve     {settings.LossFile}
            summary        {settings.SummaryFile}
            """);
    }

    private static ITransformer Load(MLContext mlContext, string file)
    {
        try
        {
            return mlContext.Model.Load(file, out _);
        }
        catch (Exception e) when (e is not FileNotFoundException)
        {
            throw new InvalidDataException($"'{file}' is not a whole saved model: {e.Message}", e);
        }
    }

    /// <summary>What the written files show; empty unless every prompt is a caption of the shapes clips and the videos are of their size.</summary>
    private static IReadOnlyList<AttributeScores> Scores(IEnumerable<Generated> videos)
    {
        var scores = new List<AttributeScores>();
        foreach (Generated video in videos)
        {
            if (!ShapeSpec.TryParse(video.Caption, out ShapeCombination combination))
                return [];
            VideoClip made = video.Video;
            if ((made.Height, made.Width) != (ShapeSpec.Height, ShapeSpec.Width))
                return [];
            VideoClip written = VideoReader.Read(video.Path, new VideoReadOptions
            {
                FrameCount = made.FrameCount, Width = made.Width, Height = made.Height, FrameRate = made.FrameRate, ShortClip = ShortClip.Refuse,
            });
            scores.Add(AttributeEvaluator.Evaluate(written.Pixels.Span, written.FrameCount, written.Height, written.Width, combination));
        }
        return scores;
    }

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
        public required string Name { get; init; }

        public required string Caption { get; init; }
    }

    private sealed class Generated
    {
        public string Caption { get; set; } = "";

        [VideoType]
        public VideoClip Video { get; set; } = null!;

        public string Path { get; set; } = "";
    }
}
