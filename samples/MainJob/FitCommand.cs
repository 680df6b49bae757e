using System.Diagnostics;
using System.Globalization;
using Microsoft.ML.Mobius.Samples.Shapes;
using Microsoft.ML.Mobius.Shapes;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Samples.MainJob;

/// <summary>Reads or draws the clips, fine-tunes through an ML.NET pipeline, and saves the model, the loss curve and the first half of the summary.</summary>
internal static class FitCommand
{
    private const int DrawnClips = 600;

    /// <returns>The model, the caller's to dispose.</returns>
    public static TextToVideoTransformer Run(JobSettings settings, CancellationToken interrupt)
    {
        var clock = Stopwatch.StartNew();
        // Whatever can be wrong is found before any work.
        OutputFolder.Check(settings.Out);
        VideoReader.CheckFfmpeg();
        if (settings.Prompts is not null)
            PromptFile.Read(settings.Prompts);
        TextToVideoTrainer.Options options = Options(settings, interrupt);
        int seed = (int)options.Seed!.Value;
        if (Ranks.AreOne)
            Draw(settings);
        IReadOnlyList<CaptionedClip> clips = CaptionedClip.ReadFolder(settings.Clips ?? settings.DrawnClips);
        if (settings.Prompts is null && Ranks.IsFirst)
            ClipFolder.WriteLines(settings.PromptFile, settings.Clips is null ? PromptFile.ForShapes(seed) : PromptFile.Among(clips, seed));

        MLContext mlContext = JobContext.Create(seed);
        IDataView data = mlContext.Data.LoadFromEnumerable(clips);
        TextToVideoTrainer trainer = mlContext.Transforms.TextToVideo(options);
        if (Ranks.IsFirst)
            options.Write(settings.OptionsFile);
        Console.WriteLine($"Fitting on {clips.Count} clips ({options.Steps} steps) ...");
        TextToVideoTransformer model = trainer.Fit(data);
        if (!Ranks.IsFirst)
            return model;

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
        new Summary(settings with { Layout = model.Layout, Frames = model.Generation.FrameCount, Seed = seed }, new FitSummary(
            clips.Count, options.Steps, model.History.Seconds, clock.Elapsed.TotalSeconds,
            heldOut.Count > 0 ? heldOut[0].Loss : null, heldOut.Count > 0 ? heldOut[^1].Loss : null, model.History.PeakMemoryBytes)).Write(settings.SummaryFile);
        if (heldOut.Count > 0)
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"Held-out loss {heldOut[0].Loss:F4} -> {heldOut[^1].Loss:F4}"));
        return model;
    }

    /// <summary>Draws the clips that are learnt, unless there are others. Of several ranks none does: it is done before they start.</summary>
    public static void Draw(JobSettings settings)
    {
        if (settings.Clips is not null)
            return;
        Console.WriteLine($"Drawing {DrawnClips} clips ...");
        ClipFolder.Write(settings.DrawnClips, DrawnClips, (int)Options(settings, default).Seed!.Value);
    }

    /// <summary>Those of the file, where there is one, and of the command line, which has the last word.</summary>
    private static TextToVideoTrainer.Options Options(JobSettings settings, CancellationToken interrupt)
    {
        TextToVideoTrainer.Options options;
        if (settings.Options is { } file)
            options = TextToVideoTrainer.Options.Read(file);
        else
            // A drawn clip shows its whole motion in one second, whatever the number of frames.
            options = new()
            {
                FrameRate = settings is { Clips: null, Frames: { } count } ? count * ShapeSpec.FrameRate / ShapeSpec.FrameCount : ShapeSpec.FrameRate,
            };
        options.ModelPath = settings.Model ?? options.ModelPath;
        options.Layout = settings.Layout ?? options.Layout;
        options.FrameCount = settings.Frames ?? options.FrameCount;
        options.Seed = settings.Seed ?? options.Seed ?? 0;
        options.Steps = settings.Steps ?? options.Steps;
        options.TensorBoardFolder ??= options.TrainingFolder is null ? settings.LogFolder : null;
        options.LogFile ??= options.TrainingFolder is null ? settings.LogFile : null;
        options.CheckpointFolder = settings.Checkpoints ?? options.CheckpointFolder;
        options.CheckpointEvery = settings.CheckpointEvery ?? options.CheckpointEvery;
        options.Resume |= settings.Resume;
        options.CacheFolder = settings.Cache ?? options.CacheFolder;
        options.Progress = new ProgressLine();
        options.CancellationToken = interrupt;
        return options;
    }
}
