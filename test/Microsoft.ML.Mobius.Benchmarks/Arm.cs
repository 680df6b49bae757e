using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>One of the ways to train that are compared: the trainer's own options, but for what <paramref name="Change"/> says.</summary>
/// <param name="Name">As on the command line and in the results.</param>
/// <param name="Description">For the results.</param>
/// <param name="Change">What differs from the trainer's defaults.</param>
/// <param name="Narrow">Whether its temporal layers are cut to as many trained parameters as the default has.</param>
internal sealed record Arm(string Name, string Description, Action<TextToVideoTrainer.Options> Change, bool Narrow = false)
{
    /// <summary>The arm that the others are compared with.</summary>
    public const string Baseline = "serial";

    /// <summary>What a user gets who changes nothing.</summary>
    public const string Default = "stream-parallel-default";

    /// <summary>What <see cref="Inner"/> gives where nothing is cut.</summary>
    public const int All32 = 32;

    public static IReadOnlyList<Arm> All { get; } =
    [
        Plain(Baseline, UNetLayout.Serial, "the fair baseline: frozen spatial and trained temporal layers in one stream"),
        Plain("serial-narrow", UNetLayout.Serial, "the baseline, its temporal layers cut inside to the trained parameters of the default") with { Narrow = true },
        Plain("layer-parallel", UNetLayout.LayerParallel, "the network that the authors published"),
        Plain("stream-parallel", UNetLayout.StreamParallel, "the paper's own: full width, nothing added, laterals and resampling without parameters"),
        new(Default, "the trainer's defaults", _ => { }),
        new("stream-parallel-adafactor", "the trainer's defaults, but for Adafactor", options => options.Optimizer = OptimizerKind.Adafactor),
        new("stream-parallel-recomputed", "the trainer's defaults, but for every trained layer recomputed", options => options.RecomputeActivations = true),
        Without("recomputation", options => options.RecomputeActivations = false),
        Without("joined-level", options => options.JoinedLevels = 0),
        Without("pooling", options => options.Resampling = Resampling.Convolution),
        Without("narrow-stream", options => options.TemporalWidthDivisor = 1),
        Without("trained-joined-level", options => options.TrainJoinedLevels = false),
    ];

    /// <exception cref="ArgumentException">There is none of that name.</exception>
    public static Arm Named(string name) => All.FirstOrDefault(arm => arm.Name == name)
        ?? throw new ArgumentException($"There is no arm '{name}'; there are {string.Join(", ", All.Select(arm => arm.Name))}.");

    /// <summary>The U-Net that it trains around an image model of that size.</summary>
    public UNetConfig UNet(ModelSize size)
    {
        var options = new TextToVideoTrainer.Options();
        Change(options);
        return options.For(size.Start()).Architecture(size.UNet);
    }

    /// <summary>
    /// Of every 32 channels inside its temporal layers those that it keeps: 32, but where it is narrow, so many that its trained parameters come nearest to the default's.
    /// </summary>
    public int Inner(ModelSize size)
    {
        if (!Narrow)
            return All32;
        long wanted = Trained(Named(Default).UNet(size));
        return Enumerable.Range(1, All32).MinBy(inner => Math.Abs(Trained(UNet(size) with { TemporalInner = inner }) - wanted));
    }

    private static long Trained(UNetConfig config) => new TrainingFootprint(config, batch: 1, frames: 1, height: 8, width: 8, tokens: 1).Trained;

    /// <summary>The temporal layers of published text-to-video models, at full width, in whichever layout.</summary>
    private static Arm Plain(string name, UNetLayout layout, string description) => new(name, description, options =>
    {
        options.Layout = layout;
        options.TemporalWidthDivisor = 1;
        options.JoinedLevels = 0;
        (options.Lateral, options.Resampling) = (Lateral.Identity, Resampling.Pooling);
        options.TemporalText = options.FramePositions = options.RecomputeActivations = false;
    });

    /// <summary>The default with one means switched off.</summary>
    /// <param name="means">Its name.</param>
    /// <param name="off">Switches it off.</param>
    private static Arm Without(string means, Action<TextToVideoTrainer.Options> off) => new($"{Default}-without-{means}", $"the defaults without {means}", off);
}
