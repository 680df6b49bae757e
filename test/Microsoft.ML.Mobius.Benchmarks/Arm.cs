using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>One of the ways to train that are compared: the trainer's own options, but for what <paramref name="Change"/> says.</summary>
/// <param name="Name">As on the command line and in the results.</param>
/// <param name="Description">For the results.</param>
/// <param name="Change">What differs from the trainer's defaults.</param>
internal sealed record Arm(string Name, string Description, Action<TextToVideoTrainer.Options> Change)
{
    /// <summary>The arm that the others are compared with.</summary>
    public const string Baseline = "serial";

    /// <summary>What a user gets who changes nothing.</summary>
    public const string Default = "stream-parallel-default";

    public static IReadOnlyList<Arm> All { get; } =
    [
        Plain(Baseline, UNetLayout.Serial, "the fair baseline: frozen spatial and trained temporal layers in one stream"),
        Plain("layer-parallel", UNetLayout.LayerParallel, "the network that the authors published"),
        Plain("stream-parallel", UNetLayout.StreamParallel, "the paper's own: full width, nothing added"),
        new(Default, "the trainer's defaults", _ => { }),
        new("stream-parallel-adafactor", "the trainer's defaults, but for Adafactor", options => options.Optimizer = OptimizerKind.Adafactor),
        Without("recomputation", options => options.RecomputeActivations = false),
    ];

    /// <exception cref="ArgumentException">There is none of that name.</exception>
    public static Arm Named(string name) => All.FirstOrDefault(arm => arm.Name == name)
        ?? throw new ArgumentException($"There is no arm '{name}'; there are {string.Join(", ", All.Select(arm => arm.Name))}.");

    /// <summary>The temporal layers of published text-to-video models, at full width, in whichever layout.</summary>
    private static Arm Plain(string name, UNetLayout layout, string description) => new(name, description, options =>
    {
        options.Layout = layout;
        options.TemporalWidthDivisor = 1;
        options.Lateral = Lateral.Convolution;
        options.TemporalText = options.FramePositions = options.RecomputeActivations = false;
    });

    /// <summary>The default with one means switched off.</summary>
    /// <param name="means">Its name.</param>
    /// <param name="off">Switches it off.</param>
    private static Arm Without(string means, Action<TextToVideoTrainer.Options> off) => new($"{Default}-without-{means}", $"the defaults without {means}", off);
}
