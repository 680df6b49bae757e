using Microsoft.ML.Mobius.UNet;

namespace Microsoft.ML.Mobius.Samples.MainJob;

/// <summary>What the command line asks for.</summary>
/// <param name="Out">The folder that everything is written to.</param>
/// <param name="Clips">A folder of clips with captions; null draws the shapes clips.</param>
/// <param name="Prompts">A file with one prompt per line; null chooses prompts that fit the clips.</param>
/// <param name="Model">A pretrained model, a folder or a file; null takes the one that the library carries.</param>
/// <param name="Layout">How temporal layers join; null means as the model has it.</param>
/// <param name="Steps">Training steps; null means the trainer's default.</param>
/// <param name="Frames">Frames per clip, at least 2; null means as the model has it.</param>
/// <param name="Seed">Seed of clips, prompts, training and generation, at least 0; null means that of <paramref name="Options"/>, otherwise 0.</param>
/// <param name="Checkpoints">A folder for checkpoints of the training; null keeps none.</param>
/// <param name="CheckpointEvery">Steps between two of them, at least 1; null means the trainer's default.</param>
/// <param name="Resume">Whether training goes on from the newest of them.</param>
/// <param name="Options">A file of the trainer's options, which count where the command line says nothing; null for none.</param>
/// <param name="Cache">A folder that the clips' latents are kept in; null for none.</param>
internal sealed record JobSettings(string Out, string? Clips, string? Prompts, string? Model, UNetLayout? Layout, int? Steps, int? Frames, int? Seed,
    string? Checkpoints = null, int? CheckpointEvery = null, bool Resume = false, string? Options = null, string? Cache = null)
{
    public string ModelFile => Path.Combine(Out, "model.zip");

    /// <summary>The prompts to generate for: the file asked for, or the one that fitting wrote.</summary>
    public string PromptFile => Prompts ?? Path.Combine(Out, "prompts.txt");

    public string OptionsFile => Path.Combine(Out, "options.json");

    /// <summary>TensorBoard's.</summary>
    public string LogFolder => Path.Combine(Out, "logs");

    /// <summary>What training tells.</summary>
    public string LogFile => Path.Combine(LogFolder, "training.log");

    public string VideoFolder => Path.Combine(Out, "videos");

    public string ContactSheetFile => Path.Combine(Out, "contact-sheet.png");

    public string LossFile => Path.Combine(Out, "loss.png");

    public string SummaryFile => Path.Combine(Out, "summary.json");

    /// <summary>Where the shapes clips are drawn.</summary>
    public string DrawnClips => Path.Combine(Out, "clips");
}
