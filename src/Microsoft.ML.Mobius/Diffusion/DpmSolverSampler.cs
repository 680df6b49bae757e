using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>
/// DPM-Solver++, the multistep solver in λ = log(α / σ) (Lu et al. 2022, arXiv 2211.01095, algorithm 2 and eq. 14 to 19), and DPM-Solver
/// (arXiv 2206.00927), which is the same with α and σ, λ and -λ, z_0 and ε exchanged.
/// </summary>
internal sealed record DpmSolverSampler : LogSnrSampler
{
    private const int FewSteps = 15;

    /// <summary>Whether the reverse SDE is solved instead of the ODE (appendix D of DPM-Solver++): with noise in each step.</summary>
    public bool Stochastic { get; init; }

    /// <summary>Whether steps of second order weigh the slope by φ_2(h) instead of φ_1(h) / 2.</summary>
    public bool Heun { get; init; }

    /// <summary>Whether the last step is of first order however many there are.</summary>
    public bool FirstOrderFinal { get; init; }

    public static DpmSolverSampler Of(NoiseScheduleConfig config)
    {
        // deis, logrho, bh1 and bh2 are of other solvers; diffusers, too, reads them as the first one here.
        string algorithm = config.OneOf("algorithm_type", "dpmsolver++", "dpmsolver", "sde-dpmsolver++", "deis");
        if (config.Setting<double?>("lambda_min_clipped", null) is { } least)
            throw new NotSupportedException($"lambda_min_clipped {least} is not supported by DPM-Solver; none is.");
        var sampler = new DpmSolverSampler
        {
            Spacing = config.Spacing(TimestepSpacing.Linspace),
            SigmaSpacing = config.KarrasSigmas ? SigmaSpacing.Karras
                : config.Setting("use_lu_lambdas", false) ? SigmaSpacing.LogSnr : SigmaSpacing.Timesteps,
            Order = config.SolverOrder,
            PredictsNoise = algorithm == "dpmsolver",
            Stochastic = algorithm == "sde-dpmsolver++",
            Heun = config.OneOf("solver_type", "midpoint", "heun", "logrho", "bh1", "bh2") == "heun",
            LowerOrderFinal = config.Setting("lower_order_final", true),
            FirstOrderFinal = config.Setting("euler_at_final", false),
            EndsClean = EndsCleanIn(config, algorithm == "dpmsolver"),
        };
        return sampler is { Stochastic: true, Order: 3 }
            ? throw new NotSupportedException("solver_order 3 is not supported by sde-dpmsolver++; 1 and 2 are.") : sampler;
    }

    protected override Func<Tensor, int, Tensor> Stepping(Denoiser denoise, NoiseSchedule schedule, int steps, Func<Tensor> draw)
    {
        var grid = Grid(schedule, steps);
        var m = new Recent(Order);
        return (z, i) =>
        {
            NoiseLevel now = grid.Level(i), next = grid.Level(i + 1);
            var made = DataOrNoise(denoise(z, grid.Times[i]), schedule, z, now);
            double h = Lambda(grid, i + 1) - Lambda(grid, i);
            if (h == 0)
                return z.alias();

            m.Add(made);
            double span = Stochastic ? 2 * h : h;                                         // the SDE goes twice as fast to z_0
            double phi1 = 1 - Math.Exp(-span), phi2 = 1 - phi1 / span, phi3 = 0.5 - phi2 / span;
            var (kept, scale) = FirstOrder(now, next);
            if (Stochastic)
                kept *= Math.Exp(-h);

            var result = kept * z + scale * phi1 * m[0];
            int order = Math.Min(OrderOf(i, steps), m.Count);
            if (order > 1)
            {
                double r0 = (Lambda(grid, i) - Lambda(grid, i - 1)) / h;
                var d1 = (m[0] - m[1]) / r0;
                if (order == 2)
                    result += scale * (Heun ? phi2 : phi1 / 2) * d1;
                else
                {
                    double r1 = (Lambda(grid, i - 1) - Lambda(grid, i - 2)) / h;
                    var older = (m[1] - m[2]) / r1;
                    var d2 = (d1 - older) / (r0 + r1);
                    result += scale * phi2 * (d1 + r0 * d2) + scale * phi3 * d2;
                }
            }
            return Stochastic ? result + next.Noise * Math.Sqrt(phi1) * draw() : result;
        };
    }

    /// <summary>The order of the i-th step; <see cref="LogSnrSampler.LowerOrderFinal"/> is for fewer than 15.</summary>
    private int OrderOf(int i, int steps)
    {
        bool few = LowerOrderFinal && steps < FewSteps;
        return i == steps - 1 && (few || FirstOrderFinal || EndsClean) ? 1 : i == steps - 2 && few ? Math.Min(2, Order) : Order;
    }
}
