using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>How the noise levels of a <see cref="SigmaGrid"/> lie.</summary>
internal enum SigmaSpacing
{
    /// <summary>Those of its time steps.</summary>
    Timesteps,

    /// <summary>Evenly in σ^(1/7) (Karras et al. 2022, arXiv 2206.00364, eq. 5).</summary>
    Karras,

    /// <summary>Evenly in log σ (Lu et al. 2022, arXiv 2206.00927, section 3.4).</summary>
    LogSnr,
}

/// <summary>
/// The way of a solver of the diffusion ODE: n time steps at which the model is called, and n + 1 levels σ = √((1 - ᾱ) / ᾱ) to go through.
/// </summary>
/// <param name="Times">From high to low; not whole where they lie between two training steps.</param>
/// <param name="Sigmas">From high to low.</param>
internal sealed record SigmaGrid(IReadOnlyList<double> Times, IReadOnlyList<double> Sigmas)
{
    private const double Rho = 7;

    public NoiseLevel Level(int i) => NoiseLevel.OfRatio(Sigmas[i]);

    /// <summary>Of solvers in σ: it ends without noise. Other levels lie between those of the first and the last time step.</summary>
    public static SigmaGrid InSigma(NoiseSchedule schedule, int steps, TimestepSpacing spacing, SigmaSpacing sigmaSpacing)
    {
        double[] times = spacing.Times(schedule, steps), sigmas = [.. times.Select(schedule.Sigma)];
        if (sigmaSpacing != SigmaSpacing.Timesteps)
        {
            sigmas = Between(sigmas[0], sigmas[^1], steps, sigmaSpacing);
            times = [.. sigmas.Select(schedule.TimeOf)];
        }
        return new(times, [.. sigmas, 0]);
    }

    /// <summary>
    /// Of solvers in λ = -log σ, which is infinite without noise: it ends at the level of t = 0, which is therefore none of the time steps,
    /// unless it shall end without noise all the same. Other levels lie between those of the last and the first training step.
    /// </summary>
    public static SigmaGrid InLogSnr(
        NoiseSchedule schedule, int steps, TimestepSpacing spacing, SigmaSpacing sigmaSpacing, bool endsClean)
    {
        double low = schedule.Sigma(0), high = schedule.Sigma(schedule.Steps - 1), end = endsClean ? 0 : low;
        if (sigmaSpacing != SigmaSpacing.Timesteps)
        {
            double[] sigmas = Between(high, low, steps, sigmaSpacing);
            return new([.. sigmas.Select(sigma => Math.Round(schedule.TimeOf(sigma)))], [.. sigmas, end]);
        }
        int[] times = spacing == TimestepSpacing.Trailing
            ? spacing.WholeTimes(schedule, steps) : spacing.WholeTimes(schedule, steps + 1)[..^1];
        return new([.. times.Select(t => (double)t)], [.. times.Select(t => schedule.Sigma(t)), end]);
    }

    /// <summary>So many levels from the high one to the low one, both exactly; one alone is the high one.</summary>
    private static double[] Between(double high, double low, int count, SigmaSpacing spacing)
    {
        Func<double, double> forth = spacing == SigmaSpacing.Karras ? sigma => Math.Pow(sigma, 1 / Rho) : Math.Log;
        Func<double, double> back = spacing == SigmaSpacing.Karras ? root => Math.Pow(root, Rho) : Math.Exp;
        double At(int i) => i == 0 ? high : i == count - 1 ? low : back(forth(high) + i / (count - 1.0) * (forth(low) - forth(high)));
        return [.. Enumerable.Range(0, count).Select(At)];
    }
}

/// <summary>A sampler that goes through a <see cref="SigmaGrid"/>.</summary>
internal abstract record SigmaSampler : Sampler
{
    public TimestepSpacing Spacing { get; init; } = TimestepSpacing.Linspace;

    public SigmaSpacing SigmaSpacing { get; init; }

    public abstract SigmaGrid Grid(NoiseSchedule schedule, int steps);

    public override IReadOnlyList<double> Timesteps(NoiseSchedule schedule, int steps) => Grid(schedule, steps).Times;

    protected override Tensor Noised(NoiseSchedule schedule, Tensor clean, Tensor noise, int steps, int i)
    {
        var level = Grid(schedule, steps).Level(i);
        return level.Signal * clean + level.Noise * noise;
    }
}

/// <summary>A sampler in σ (Karras et al. 2022, arXiv 2206.00364): what is gone through is x = z / α = z_0 + σ ε.</summary>
internal abstract record ScaledSampler : SigmaSampler
{
    public sealed override SigmaGrid Grid(NoiseSchedule schedule, int steps) => SigmaGrid.InSigma(schedule, steps, Spacing, SigmaSpacing);

    /// <summary>x of the first level; where the time steps leave out the highest, the noise is taken for z, as in diffusers, and else for ε.</summary>
    protected sealed override Tensor Begin(NoiseSchedule schedule, Tensor noise, int steps)
    {
        var grid = Grid(schedule, steps);
        return Spacing == TimestepSpacing.Leading ? noise / grid.Level(0).Signal : noise * grid.Sigmas[0];
    }

    protected sealed override Tensor Noised(NoiseSchedule schedule, Tensor clean, Tensor noise, int steps, int i)
        => clean + Grid(schedule, steps).Sigmas[i] * noise;

    /// <summary>D(x; σ) at the i-th level.</summary>
    protected static Tensor Clean(Denoiser denoise, NoiseSchedule schedule, SigmaGrid grid, Tensor x, int i)
    {
        var z = grid.Level(i).Signal * x;
        return schedule.CleanOf(denoise(z, grid.Times[i]), z, grid.Level(i));
    }
}
