using System.Diagnostics;
using System.Globalization;
using Microsoft.ML.Mobius.Samples.Shapes;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Samples.MainJob;

/// <summary>Reads or draws the clips, fine-tunes through an ML.NET pipeline, and saves the model, the loss curve and the first half of the summary.</summary>
internal static class FitCommand
{
    private const int DrawnClips = 600;

    public static void Run(JobSettings settings, CancellationToken interrupt)
    {
        var clock = Stopwatch.StartNew();
        // Whatever can be wrong is found before any work.
        OutputFolder.Check(settings.Out);
        VideoReader.CheckFfmpeg();
        if (settings.Prompts is not null)
            PromptFile.Read(settings.Prompts);
        IReadOnlyList<CaptionedClip> clips = CaptionedClip.ReadFolder(settings.Clips ?? Draw(settings));
        if (settings.Prompts is null)
            ClipFolder.WriteLines(settings.PromptFile, settings.Clips is null ? PromptFile.ForShapes(settings.Seed) : PromptFile.Among(clips, settings.Seed));

        var options = new TextToVideoTrainer.Options
        {
            ModelPath = settings.Model,
            Layout = settings.Layout,
            FrameCount = settings.Frames,
            // A drawn clip shows its whole motion in one second, whatever the number of frames.
            FrameRate = settings is { Clips: null, Frames: { } frames } ? frames * ShapeSpec.FrameRate / ShapeSpec.FrameCount : ShapeSpec.FrameRate,
            Seed = settings.Seed,
            TensorBoardFolder = settings.LogFolder,
            CheckpointFolder = settings.Checkpoints,
            Resume = settings.Resume,
            Progress = new ProgressLine(),
            CancellationToken = interrupt,
        };
        if (settings.Steps is { } steps)
            options.Steps = steps;
        if (settings.CheckpointEvery is { } every)
            options.CheckpointEvery = every;

        MLContext mlContext = JobContext.Create(settings.Seed);
        IDataView data = mlContext.Data.LoadFromEnumerable(clips);
        TextToVideoTrainer trainer = mlContext.Transforms.TextToVideo(options);
        options.Write(settings.OptionsFile);
        Console.WriteLine($"Fitting on {clips.Count} clips ({options.Steps} steps) ...");
        using TextToVideoTransformer model = trainer.Fit(data);

        string aside = settings.ModelFile + ".tmp";
        try
        {
            mlContext.Model.Save(model, data.Schema, aside);
            File.Move(aside, settings.ModelFile, overwrite: true);
        }
        finally
        {
            File.Delete(aside);
        }
        LossPlot.Write(settings.LossFile, model.History);
        var heldOut = model.History.HeldOut;
        new Summary(settings with { Layout = model.Layout, Frames = model.Generation.FrameCount }, new FitSummary(
            clips.Count, options.Steps, model.History.Seconds, clock.Elapsed.TotalSeconds,
            heldOut.Count > 0 ? heldOut[0].Loss : null, heldOut.Count > 0 ? heldOut[^1].Loss : null, model.History.PeakMemoryBytes)).Write(settings.SummaryFile);
        if (heldOut.Count > 0)
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"Held-out loss {heldOut[0].Loss:F4} -> {heldOut[^1].Loss:F4}"));
    }

    private static string Draw(JobSettings settings)
    {
        Console.WriteLine($"Drawing {DrawnClips} clips ...");
        ClipFolder.Write(settings.DrawnClips, DrawnClips, settings.Seed);
        return settings.DrawnClips;
    }
}
