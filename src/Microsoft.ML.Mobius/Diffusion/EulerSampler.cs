using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>
/// Euler's method for dx/dσ = (x - D(x; σ)) / σ (Karras et al. 2022, arXiv 2206.00364, algorithm 1) with x = z / α.
/// </summary>
internal sealed record EulerSampler : ScaledSampler
{
    public static EulerSampler Of(NoiseScheduleConfig config)
    {
        config.OneOf("interpolation_type", "linear");
        config.OneOf("timestep_type", "discrete");
        config.OneOf("final_sigmas_type", "zero");
        return new()
        {
            Spacing = config.Spacing(TimestepSpacing.Linspace),
            SigmaSpacing = config.KarrasSigmas ? SigmaSpacing.Karras : SigmaSpacing.Timesteps,
        };
    }

    protected override Func<Tensor, int, Tensor> Stepping(Denoiser denoise, NoiseSchedule schedule, int steps, Func<Tensor> draw)
    {
        var grid = Grid(schedule, steps);
        return (x, i) =>
        {
            double now = grid.Sigmas[i], next = grid.Sigmas[i + 1];
            var clean = Clean(denoise, schedule, grid, x, i);
            return clean + next / now * (x - clean);                                      // x + (σ' - σ) dx/dσ, accurate where σ is large
        };
    }
}
