using System.IO.Compression;
using Microsoft.ML.Data;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.Weights;

namespace Microsoft.ML.Mobius.Cli;

/// <summary>A model of whatever form, ready to generate.</summary>
/// <param name="Whole">All that a .zip holds.</param>
/// <param name="Video">The text-to-video step of it.</param>
/// <param name="Schema">The columns that a .zip says it takes; null if it does not.</param>
internal sealed record OpenedModel(ITransformer Whole, TextToVideoTransformer Video, DataViewSchema? Schema) : IDisposable
{
    private const string SavedByMLNet = "Model.key", ModelIndex = "model_index.json", InTrainingFolder = "model.zip";

    /// <summary>Opens a saved .zip, a folder in diffusers' layout, a folder that training wrote, or one file: a <see cref="ModelFile"/> or a Stable Diffusion 1.x.</summary>
    /// <param name="mlContext">Says where it computes.</param>
    /// <param name="path">The file or folder; null: the model that the library carries.</param>
    /// <param name="terminal">Takes warnings.</param>
    /// <param name="loras">Merged into it.</param>
    /// <exception cref="IOException">It is not there, or a file of it is not.</exception>
    /// <exception cref="InvalidDataException">It is damaged, or something else.</exception>
    public static OpenedModel Open(MLContext mlContext, string? path, Terminal terminal, IReadOnlyList<LoraSource>? loras = null)
    {
        var opened = path is not null && FileOf(path) is { } zip ? Load(mlContext, zip, terminal)
            : path is not null && ModelFile.Is(path) ? ModelFile.Read(path, folder => Around(mlContext, folder, terminal)) : Around(mlContext, path, terminal);
        try
        {
            foreach (var (file, scale) in loras ?? [])
                if (opened.Video.ApplyLora(file, scale).UnmatchedKeys is { Count: > 0 } unmatched)
                    terminal.Warn($"{file}: {unmatched.Count} keys name no layer of the model and are left out: {string.Join(", ", unmatched)}.");
            return opened;
        }
        catch
        {
            opened.Dispose();
            throw;
        }
    }

    /// <summary>The .zip that a path means; null if it means another form of model.</summary>
    /// <exception cref="IOException">There is nothing, or a folder with no model.</exception>
    public static string? FileOf(string path)
    {
        if (Directory.Exists(path))
            return File.Exists(Path.Combine(path, ModelIndex)) ? null
                : File.Exists(Path.Combine(path, InTrainingFolder)) ? Path.Combine(path, InTrainingFolder)
                : IsOfCheckpoints(path) ? throw new InvalidDataException($"'{path}' holds checkpoints, the state of a training, and no model: "
                    + "a model is what training writes when it ends (model.zip).")
                : throw new FileNotFoundException($"'{path}' is no model folder: it has neither {ModelIndex} nor {InTrainingFolder}.");
        if (!File.Exists(path))
            throw new FileNotFoundException($"The model '{path}' does not exist.");
        return IsSaved(path) || Path.GetExtension(path).Equals(".zip", StringComparison.OrdinalIgnoreCase) ? path : null;
    }

    /// <summary>Whether a folder is one of checkpoints, or a checkpoint.</summary>
    public static bool IsOfCheckpoints(string folder) => File.Exists(Path.Combine(folder, "checkpoint.json")) || Directory.EnumerateDirectories(folder, "step-*").Any();

    /// <summary>Whether ML.NET saved a file.</summary>
    public static bool IsSaved(string file)
    {
        try
        {
            using var archive = ZipFile.OpenRead(file);
            return archive.Entries.Any(entry => entry.Name == SavedByMLNet);
        }
        catch (InvalidDataException)
        {
            return false;
        }
    }

    public void Dispose()
    {
        Video.Dispose();
        (Whole as IDisposable)?.Dispose();
    }

    private static OpenedModel Load(MLContext mlContext, string file, Terminal terminal)
    {
        ITransformer whole;
        DataViewSchema? schema;
        try
        {
            whole = mlContext.Model.Load(file, out schema);
        }
        catch (Exception e) when (e is not (FileNotFoundException or OutOfMemoryException))
        {
            var cause = e;
            while (cause is InvalidOperationException or System.Reflection.TargetInvocationException && cause.InnerException is { } inner)
                cause = inner;
            throw new InvalidDataException($"'{file}' is not a whole saved model: {cause.Message}", e);
        }
        ITransformer[] steps = [.. whole is IEnumerable<ITransformer> chain ? chain : [whole]];
        var videos = steps.OfType<TextToVideoTransformer>().ToArray();
        if (videos.Length != 1)
        {
            (whole as IDisposable)?.Dispose();
            throw new InvalidDataException($"'{file}' has {videos.Length} text-to-video models among its {steps.Length} steps; expected one.");
        }
        if (steps.Length > 1)
            terminal.Warn($"'{file}' is a pipeline of {steps.Length} steps: prompts go straight to the text-to-video model, past the others.");
        return new(whole, videos[0], schema);
    }

    private static OpenedModel Around(MLContext mlContext, string? path, Terminal terminal)
    {
        if (path is not null && !ModelSource.Open(path).HasTemporal)
            terminal.Warn($"'{path}' is an image model: its temporal half is untrained, and its videos do not move as they should.");
        var empty = mlContext.Data.LoadFromEnumerable(Array.Empty<CaptionedClip>());
        var video = mlContext.Transforms.TextToVideo(new TextToVideoTrainer.Options { ModelPath = path, Steps = 0 }).Fit(empty);
        return new(video, video, mlContext.Data.LoadFromEnumerable(Array.Empty<Prompt>()).Schema);
    }

    private sealed class Prompt
    {
        public string Caption { get; set; } = "";
    }
}
