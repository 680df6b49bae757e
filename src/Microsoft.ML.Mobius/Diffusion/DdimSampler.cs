using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>Predicts what the schedule's prediction_type says, usually the noise in z_t: (z_t, t) -> ε.</summary>
internal delegate Tensor Denoiser(Tensor z, int t);

/// <summary>DDIM without noise of its own, η = 0 (Song et al. 2021, arXiv 2010.02502, eq. 12).</summary>
internal static class DdimSampler
{
    /// <summary>Time steps from high to low: multiples of ⌊T/n⌋ plus steps_offset ("leading" spacing, Lin et al. 2305.08891, table 2).</summary>
    public static IEnumerable<int> Timesteps(NoiseSchedule schedule, int count)
    {
        int stride = schedule.Steps / count;
        return Enumerable.Range(0, count).Reverse().Select(i => Math.Min(i * stride + schedule.Config.StepsOffset, schedule.Steps - 1));
    }

    /// <summary>From noise to latents.</summary>
    /// <param name="denoise">The model, guidance included.</param>
    /// <param name="schedule">The schedule it was trained with.</param>
    /// <param name="noise">z_T, standard normal, [B, c, F, h, w]; not disposed.</param>
    /// <param name="steps">n, 1 to T.</param>
    /// <param name="afterStep">Called with the number of steps done; may throw to stop.</param>
    /// <returns>z_0, of the same shape; belongs to the caller's scope.</returns>
    public static Tensor Sample(Denoiser denoise, NoiseSchedule schedule, Tensor noise, int steps, Action<int>? afterStep = null)
    {
        int stride = schedule.Steps / steps, done = 0;
        var z = noise.alias();
        foreach (int t in Timesteps(schedule, steps))
        {
            using var scope = NewDisposeScope();
            double now = schedule.AlphaBar(t), next = schedule.AlphaBar(t - stride);
            var epsilon = schedule.NoiseOf(denoise(z, t), z, t);
            var clean = (z - Math.Sqrt(1 - now) * epsilon) / Math.Sqrt(now);                      // predicted z_0
            var previous = Math.Sqrt(next) * clean + Math.Sqrt(1 - next) * epsilon;               // direction pointing to z_t
            z.Dispose();
            z = previous.MoveToOuterDisposeScope();
            afterStep?.Invoke(++done);
        }
        return z;
    }
}
