using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>
/// A multistep solver in λ = log(α / σ). Its steps are exact as long as the predicted z_0 stays the same, and otherwise extrapolate it from the
/// last few; or the same of ε, with α and σ, λ and -λ exchanged.
/// </summary>
internal abstract record LogSnrSampler : SigmaSampler
{
    /// <summary>Predictions that a step uses, 1 to 3.</summary>
    public int Order { get; init; } = 2;

    /// <summary>Whether it is ε that the steps extrapolate rather than z_0.</summary>
    public bool PredictsNoise { get; init; }

    /// <summary>Whether the last steps are of lower order, which is stabler.</summary>
    public bool LowerOrderFinal { get; init; } = true;

    /// <summary>
    /// Whether the last step is of first order and goes to z_0 rather than to the level of t = 0: final_sigmas_type zero rather than sigma_min.
    /// </summary>
    public bool EndsClean { get; init; }

    public sealed override SigmaGrid Grid(NoiseSchedule schedule, int steps)
        => SigmaGrid.InLogSnr(schedule, steps, Spacing, SigmaSpacing, EndsClean);

    /// <summary>λ of the i-th level, or -λ where ε is extrapolated.</summary>
    protected double Lambda(SigmaGrid grid, int i) => PredictsNoise ? -grid.Level(i).LogSnr : grid.Level(i).LogSnr;

    /// <summary>The predicted z_0, or ε where that is extrapolated.</summary>
    protected Tensor DataOrNoise(Tensor prediction, NoiseSchedule schedule, Tensor z, NoiseLevel level)
        => PredictsNoise ? schedule.NoiseOf(prediction, z, level) : schedule.CleanOf(prediction, z, level);

    /// <summary>Of a step of first order, z' = kept z + scale (1 - e^-h) m with h the step in λ.</summary>
    protected (double Kept, double Scale) FirstOrder(NoiseLevel now, NoiseLevel next)
        => PredictsNoise ? (next.Signal / now.Signal, next.Noise) : (next.Noise / now.Noise, next.Signal);

    /// <summary>What a config says of <see cref="EndsClean"/>.</summary>
    protected static bool EndsCleanIn(NoiseScheduleConfig config, bool predictsNoise)
    {
        bool clean = config.OneOf("final_sigmas_type", "sigma_min", "zero") == "zero";
        return !clean || !predictsNoise ? clean : throw new NotSupportedException(
            "final_sigmas_type 'zero' is not supported by solvers that extrapolate the noise (algorithm_type 'dpmsolver', predict_x0 false); "
            + "'sigma_min' is.");
    }
}
