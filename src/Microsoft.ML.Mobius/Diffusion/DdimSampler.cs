using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>DDIM (Song et al. 2021, arXiv 2010.02502, eq. 12 and 16).</summary>
internal sealed record DdimSampler : Sampler
{
    public TimestepSpacing Spacing { get; init; }

    /// <summary>η: 0, the default, adds no noise, 1 as much as DDPM.</summary>
    public double Eta { get; init; }

    /// <summary>Largest size of the predicted z_0; null for any.</summary>
    public double? ClipRange { get; init; }

    public static DdimSampler Of(NoiseScheduleConfig config)
        => new() { Spacing = config.Spacing(TimestepSpacing.Leading), ClipRange = config.ClipRange };

    public override IReadOnlyList<double> Timesteps(NoiseSchedule schedule, int steps) => [.. Spacing.WholeTimes(schedule, steps)];

    protected override Func<Tensor, int, Tensor> Stepping(Denoiser denoise, NoiseSchedule schedule, int steps, Func<Tensor> draw)
    {
        int[] times = Spacing.WholeTimes(schedule, steps), nextTimes = Spacing.NextTimes(schedule, steps);
        return (z, i) =>
        {
            int t = times[i];
            NoiseLevel now = schedule.Level(t), next = schedule.Level(nextTimes[i]);
            double sigma = Eta * (next.Noise / now.Noise) * Math.Sqrt(1 - Math.Pow(now.Signal / next.Signal, 2));

            var prediction = denoise(z, t);
            var (clean, epsilon) = (schedule.CleanOf(prediction, z, now, ClipRange), schedule.NoiseOf(prediction, z, now));
            var mean = next.Signal * clean + Math.Sqrt(next.Noise * next.Noise - sigma * sigma) * epsilon;
            return Eta > 0 ? mean + sigma * draw() : mean;
        };
    }
}
