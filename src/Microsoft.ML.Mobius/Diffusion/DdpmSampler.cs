using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>DDPM, the reverse process q(z_t' | z_t, z_0) with the predicted z_0 (Ho et al. 2020, arXiv 2006.11239, eq. 7).</summary>
internal sealed record DdpmSampler : Sampler
{
    public TimestepSpacing Spacing { get; init; }

    /// <summary>Whether the variance is β rather than β̃ (section 3.2): variance_type fixed_large rather than fixed_small.</summary>
    public bool LargeVariance { get; init; }

    /// <summary>Largest size of the predicted z_0; null for any.</summary>
    public double? ClipRange { get; init; }

    public static DdpmSampler Of(NoiseScheduleConfig config) => new()
    {
        Spacing = config.Spacing(TimestepSpacing.Leading),
        LargeVariance = config.OneOf("variance_type", "fixed_small", "fixed_large") == "fixed_large",
        ClipRange = config.ClipRange,
    };

    public override IReadOnlyList<double> Timesteps(NoiseSchedule schedule, int steps) => [.. Spacing.WholeTimes(schedule, steps)];

    protected override Func<Tensor, int, Tensor> Stepping(Denoiser denoise, NoiseSchedule schedule, int steps, Func<Tensor> draw)
    {
        int[] times = Spacing.WholeTimes(schedule, steps), nextTimes = Spacing.NextTimes(schedule, steps);
        return (z, i) =>
        {
            int t = times[i];
            NoiseLevel now = schedule.Level(t), next = nextTimes[i] >= 0 ? schedule.Level(nextTimes[i]) : NoiseLevel.Clean;
            double alpha = Math.Pow(now.Signal / next.Signal, 2), beta = 1 - alpha;
            double kept = Math.Pow(next.Noise / now.Noise, 2);                            // (1 - ᾱ') / (1 - ᾱ)

            var clean = schedule.CleanOf(denoise(z, t), z, now, ClipRange);
            var mean = next.Signal * beta / (now.Noise * now.Noise) * clean + Math.Sqrt(alpha) * kept * z;
            return t > 0 ? mean + Math.Sqrt(LargeVariance ? beta : kept * beta) * draw() : mean;
        };
    }
}
