using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>
/// Euler's method for dx/dσ = (x - D(x; σ)) / σ (Karras et al. 2022, arXiv 2206.00364, algorithm 1) with x = z / α: what is gone through
/// here is x = z_0 + σ ε.
/// </summary>
internal sealed record EulerSampler : SigmaSampler
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

    public override SigmaGrid Grid(NoiseSchedule schedule, int steps) => SigmaGrid.InSigma(schedule, steps, Spacing, SigmaSpacing);

    protected override Tensor Begin(NoiseSchedule schedule, Tensor noise, int steps) => Begin(noise, Grid(schedule, steps), Spacing);

    protected override Tensor Noised(NoiseSchedule schedule, Tensor clean, Tensor noise, int steps, int i)
        => clean + Grid(schedule, steps).Sigmas[i] * noise;

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

    /// <summary>x of the first level; where the time steps leave out the highest, the noise is taken for z, as in diffusers, and else for ε.</summary>
    internal static Tensor Begin(Tensor noise, SigmaGrid grid, TimestepSpacing spacing)
        => spacing == TimestepSpacing.Leading ? noise / grid.Level(0).Signal : noise * grid.Sigmas[0];

    /// <summary>D(x; σ) at the i-th level.</summary>
    internal static Tensor Clean(Denoiser denoise, NoiseSchedule schedule, SigmaGrid grid, Tensor x, int i)
    {
        var z = grid.Level(i).Signal * x;
        return schedule.CleanOf(denoise(z, grid.Times[i]), z, grid.Level(i));
    }
}
