using Microsoft.ML.Mobius.Files;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Sampling;
using Microsoft.ML.Mobius.Torch;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.Video;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius;

/// <summary>Pictures of a training run: its first batch as the model sees it, and samples.</summary>
/// <param name="model">The one that is trained.</param>
/// <param name="options">Folders and intervals.</param>
/// <param name="generation">How samples are made.</param>
/// <param name="prompts">Of the samples.</param>
/// <param name="checkAlive">Called between two denoising steps; may throw to stop.</param>
internal sealed class TrainingPictures(
    TextToVideoModel model, TextToVideoTrainer.Options options, GenerationOptions generation, IReadOnlyList<string> prompts, Action checkAlive)
    : ITrainingPictures
{
    private const int ClipsShown = 8;

    private readonly TextToVideoSampler _sampler = new(model);

    /// <summary>
    /// Where there is a cache, all that training needs of text encoder and autoencoder is known when it begins: on a GPU both leave its memory, but for pictures. On the
    /// CPU they stay, for nothing would be won: they are needed again in the end.
    /// </summary>
    private readonly bool _aside = options.CacheFolder is not null && model.Device.type != TorchSharp.DeviceType.CPU;

    public void PutEncodersAside()
    {
        if (_aside)
            model.PutEncoders(CPU);
    }

    /// <summary>Decodes the latents again: what has gone wrong on the way to them can be seen.</summary>
    public void ShowFirstBatch(TrainingData data, IReadOnlyList<int> clips)
    {
        if (options.SanityFolder is not { } folder)
            return;
        var rows = new List<ContactSheetRow>();
        WithEncoders(() =>
        {
            foreach (int clip in clips.Take(ClipsShown))
            {
                using var scope = NewDisposeScope();
                rows.Add(new ContactSheetRow(model.Tokenizer.Spelled(data.Caption(clip)), _sampler.Decode(data.Means([clip]).OnDevice(model.Device), options.FrameRate, data.Caption(clip))));
            }
        });
        ContactSheet.Write(Path.Combine(folder, "first-batch.png"), rows);
        FileAside.Write(Path.Combine(folder, "first-batch.txt"), path => File.WriteAllLines(path, rows.Select(row => $"{row.Clip}: {row.Caption}")));
    }

    public bool IsDue(int step) => options.SampleFolder is not null && options.SampleEvery > 0 && (step == 1 || step % options.SampleEvery == 0);

    public byte[] Sample(int step)
    {
        string at = Path.Combine(options.SampleFolder!, FormattableString.Invariant($"step-{step:D8}"));
        var rows = new List<ContactSheetRow>();
        WithEncoders(() =>
        {
            foreach (var (i, prompt) in prompts.Index())
            {
                var clip = _sampler.Generate(prompt, generation.NegativePrompt, generation.Settings, generation.SeedOf(prompt), _ => checkAlive());
                VideoWriter.Write($"{at}-{i + 1}-{VideoFileNames.Of(prompt)}.mp4", clip);
                rows.Add(new ContactSheetRow(prompt, clip));
            }
        });
        ContactSheet.Write($"{at}.png", rows);
        return File.ReadAllBytes($"{at}.png");
    }

    private void WithEncoders(Action use)
    {
        if (_aside)
            model.PutEncoders(model.Device);
        try
        {
            use();
        }
        finally
        {
            PutEncodersAside();
        }
    }
}
