namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>One of the ways to generate that are compared.</summary>
/// <param name="Name">As on the command line and in the results.</param>
/// <param name="Description">For the results.</param>
/// <param name="Change">What differs from the options of a model of 8 frames, <see cref="Measuring.SamplingSteps"/> steps and guidance.</param>
/// <param name="Arm">Name of the <see cref="Arm"/> whose network it is.</param>
internal sealed record Way(string Name, string Description, Func<GenerationOptions, GenerationOptions> Change, string Arm = Arm.Default)
{
    public static IReadOnlyList<Way> All { get; } =
    [
        new("serial", "temporal layers of full width, in one stream with the spatial ones", how => how, Benchmarks.Arm.Baseline),
        new("default", "the trainer's default network; prompt and negative prompt side by side", how => how),
        new("without-guidance", "one pass per step", how => how with { GuidanceScale = 1 }),
        new("guidance-in-turn", "prompt and negative prompt one after the other", how => how with { GuidanceInTurn = true }),
        new("frame-chunks", "spatial layers for 2 frames at a time", how => how with { SpatialFrameChunk = 2 }),
        new("deep-cache", "inner levels in every other call", how => how with { DeepCacheInterval = 2 }),
        InWindows(16),
        InWindows(64),
    ];

    /// <summary>Frames of its videos.</summary>
    public int Frames => Options.FrameCount;

    /// <summary>Denoising steps of its videos.</summary>
    public int Steps => Options.SamplingSteps;

    private GenerationOptions Options => Change(new GenerationOptions { SamplingSteps = Measuring.SamplingSteps });

    /// <exception cref="ArgumentException">There is none of that name.</exception>
    public static Way Named(string name) => All.FirstOrDefault(way => way.Name == name)
        ?? throw new ArgumentException($"There is no way '{name}'; there are {string.Join(", ", All.Select(way => way.Name))}.");

    private static Way InWindows(int frames) => new(
        $"windows-of-{frames}", $"{frames} frames, 8 at a time, 2 steps", how => how with { FrameCount = frames, FrameWindow = 8, SamplingSteps = 2 });
}
