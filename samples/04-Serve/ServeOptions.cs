using System.Text.Json.Serialization;

namespace Microsoft.ML.Mobius.Samples.Serve;

/// <summary>The section Serve of the configuration: the model, and what visitors may ask of it.</summary>
internal sealed class ServeOptions
{
    /// <summary>A trained model, as ML.NET saves it; null: the untrained start that the library carries.</summary>
    public string? Model { get; set; }

    /// <summary>Videos that may wait while one is made, at least 1.</summary>
    public int QueueLength { get; set; } = 8;

    /// <summary>Jobs that have ended and are still shown, at least 1: the oldest are forgotten, and their files deleted.</summary>
    public int JobsKept { get; set; } = 40;

    /// <summary>Characters of a prompt.</summary>
    public int LongestPrompt { get; set; } = 200;

    public int MostFrames { get; set; } = 32;

    /// <summary>Pixels of height or width.</summary>
    public int LargestSide { get; set; } = 256;

    /// <summary>Denoising steps.</summary>
    public int MostSteps { get; set; } = 50;

    /// <summary>How often a video under way is decoded to be looked at, at least 0; each time takes as long as at its end.</summary>
    public int Previews { get; set; } = 4;

    /// <summary>Every pixel of the model becomes a square of this many in the file, 1..64.</summary>
    public int Upscale { get; set; } = 4;

    /// <exception cref="ArgumentException">A setting is out of its range, or forbids what the model makes by itself.</exception>
    public void Check(GenerationOptions own)
    {
        foreach (var (name, value, least, most) in new[]
        {
            (nameof(QueueLength), QueueLength, 1, int.MaxValue), (nameof(JobsKept), JobsKept, 1, int.MaxValue),
            (nameof(LongestPrompt), LongestPrompt, 1, int.MaxValue), (nameof(MostFrames), MostFrames, own.FrameCount, int.MaxValue),
            (nameof(LargestSide), LargestSide, Math.Max(own.Height, own.Width), int.MaxValue),
            (nameof(MostSteps), MostSteps, own.SamplingSteps, 1000), (nameof(Previews), Previews, 0, 1000),
            (nameof(Upscale), Upscale, 1, 64),
        })
            if (value < least || value > most)
                throw new ArgumentException(
                    $"Serve:{name} is {value}; at least {least} is needed{(most < int.MaxValue ? $", and at most {most}" : "")}.");
    }
}

/// <summary>What a visitor asks for; what is null is as the model has it.</summary>
/// <param name="Prompt">What to show.</param>
/// <param name="Seed">Null: any.</param>
/// <param name="Frames">Per video.</param>
/// <param name="Width">In pixels.</param>
/// <param name="Height">In pixels.</param>
/// <param name="Steps">Denoising steps.</param>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
internal sealed record VideoRequest(
    string? Prompt, long? Seed = null, int? Frames = null, int? Width = null, int? Height = null, int? Steps = null)
{
    /// <summary>What is wrong with it, by the name of the field.</summary>
    public Dictionary<string, string[]> Problems(ServeOptions limits)
    {
        var problems = new Dictionary<string, string[]>();
        if (string.IsNullOrWhiteSpace(Prompt))
            problems["prompt"] = ["Say what the video is to show."];
        else if (Prompt.Length > limits.LongestPrompt)
            problems["prompt"] = [$"The prompt has {Prompt.Length} characters; {limits.LongestPrompt} are possible."];
        foreach (var (name, value, most) in new[]
        {
            ("frames", Frames, limits.MostFrames), ("width", Width, limits.LargestSide), ("height", Height, limits.LargestSide),
            ("steps", Steps, limits.MostSteps),
        })
            if (value < 1 || value > most)
                problems[name] = [$"{value} is not possible: 1 to {most} are."];
        return problems;
    }

    public GenerationOptions From(GenerationOptions own, long seed) => own with
    {
        Seed = seed, FrameCount = Frames ?? own.FrameCount, Width = Width ?? own.Width, Height = Height ?? own.Height,
        SamplingSteps = Steps ?? own.SamplingSteps,
    };
}
