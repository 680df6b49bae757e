using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>
/// Multistep sampling of a latent consistency model: z_0 at once, noise to the next level, and again (Luo et al. 2023, arXiv 2310.04378,
/// algorithm 3; the boundary condition is that of Song et al. 2023, arXiv 2303.01469, appendix C). For models that were distilled for it.
/// </summary>
internal sealed record LcmSampler : Sampler
{
    private const double SigmaData = 0.5;

    /// <summary>Time steps that the model was distilled at.</summary>
    public int OriginalSteps { get; init; } = 50;

    /// <summary>By it t is multiplied in the boundary condition.</summary>
    public double TimestepScaling { get; init; } = 10;

    /// <summary>Largest size of the predicted z_0; null for any.</summary>
    public double? ClipRange { get; init; }

    public static LcmSampler Of(NoiseScheduleConfig config) => new()
    {
        OriginalSteps = config.Setting("original_inference_steps", 50),
        TimestepScaling = config.Setting("timestep_scaling", 10.0),
        ClipRange = config.ClipRange,
    };

    public override IReadOnlyList<double> Timesteps(NoiseSchedule schedule, int steps) => [.. Times(schedule, steps)];

    protected override Func<Tensor, int, Tensor> Stepping(Denoiser denoise, NoiseSchedule schedule, int steps, Func<Tensor> draw)
    {
        int[] times = Times(schedule, steps);
        return (z, i) =>
        {
            double scaled = TimestepScaling * times[i], size = Math.Sqrt(scaled * scaled + SigmaData * SigmaData);
            double skip = Math.Pow(SigmaData / size, 2), output = scaled / size;

            var clean = schedule.CleanOf(denoise(z, times[i]), z, schedule.Level(times[i]), ClipRange);
            var consistent = output * clean + skip * z;
            if (i == steps - 1)
                return consistent;
            var next = schedule.Level(times[i + 1]);
            return next.Signal * consistent + next.Noise * draw();
        };
    }

    /// <summary>n of the time steps of distillation, evenly from the highest down.</summary>
    private int[] Times(NoiseSchedule schedule, int steps)
    {
        if (OriginalSteps < 1 || OriginalSteps > schedule.Steps)
            throw new NotSupportedException($"original_inference_steps {OriginalSteps} is not supported; 1 to {schedule.Steps} are.");
        if (steps < 1 || steps > OriginalSteps)
            throw new ArgumentOutOfRangeException(nameof(steps), steps, $"LCM takes 1 to {OriginalSteps} steps with this model.");
        int stride = schedule.Steps / OriginalSteps;
        return [.. Enumerable.Range(0, steps).Select(i => (OriginalSteps - i * OriginalSteps / steps) * stride - 1)];
    }
}
