using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>
/// UniPC: a multistep predictor in λ = log(α / σ) and, at no further call of the model, its corrector (Zhao et al. 2023, arXiv 2302.04867,
/// algorithms 5 to 8 with B(h) and eq. 3, 8 and 9).
/// </summary>
internal sealed record UniPcSampler : LogSnrSampler
{
    /// <summary>Whether B(h) = h rather than e^h - 1.</summary>
    public bool LinearB { get; init; }

    public static UniPcSampler Of(NoiseScheduleConfig config)
    {
        if (config.Setting<int[]>("disable_corrector", []) is { Length: > 0 })
            throw new NotSupportedException("disable_corrector is not supported by UniPC; an empty list is.");
        bool predictsNoise = !config.Setting("predict_x0", true);
        return new()
        {
            Spacing = config.Spacing(TimestepSpacing.Linspace),
            SigmaSpacing = config.KarrasSigmas ? SigmaSpacing.Karras : SigmaSpacing.Timesteps,
            Order = config.SolverOrder,
            PredictsNoise = predictsNoise,
            LinearB = config.OneOf("solver_type", "bh2", "bh1", "midpoint", "heun", "logrho") == "bh1",
            LowerOrderFinal = config.Setting("lower_order_final", true),
            EndsClean = EndsCleanIn(config, predictsNoise),
        };
    }

    protected override Func<Tensor, int, Tensor> Stepping(Denoiser denoise, NoiseSchedule schedule, int steps, Func<Tensor> draw)
    {
        var grid = Grid(schedule, steps);
        var (m, start) = (new Recent(Order), new Recent(1));                              // predictions, and z that the last step began with
        int order = 0;

        // From level i to the next: first order and Σ ρ_k D_k / r_k over earlier points and, for the corrector, that which is reached.
        Tensor Update(Tensor z, int i, Tensor? reached)
        {
            double h = Lambda(grid, i + 1) - Lambda(grid, i), phi1 = Math.Exp(-h) - 1;
            if (h == 0)
                return z.alias();
            var (kept, scale) = FirstOrder(grid.Level(i), grid.Level(i + 1));
            var points = Enumerable.Range(1, order - 1).Select(k => (R: (Lambda(grid, i - k) - Lambda(grid, i)) / h, D: m[k] - m[0])).ToList();
            if (reached is not null)
                points.Add((1, reached - m[0]));
            var result = kept * z - scale * phi1 * m[0];
            foreach (var (rho, (r, d)) in Weights(-h, [.. points.Select(point => point.R)]).Zip(points))
                result -= scale * B(-h) * rho / r * d;
            return result;
        }

        return (z, i) =>
        {
            var made = DataOrNoise(denoise(z, grid.Times[i]), schedule, z, grid.Level(i));
            if (m.Count == 0 && Lambda(grid, i) == Lambda(grid, i + 1))                   // a step between equal levels is none
                return z.alias();
            var corrected = m.Count == 0 ? z : Update(start[0], i - 1, made);
            m.Add(made);
            start.Add(corrected);
            order = Math.Min(OrderOf(i, steps), m.Count);
            return Update(corrected, i, reached: null);
        };
    }

    private int OrderOf(int i, int steps) => LowerOrderFinal ? Math.Min(Order, steps - i) : EndsClean && i == steps - 1 ? 1 : Order;

    private double B(double h) => LinearB ? h : Math.Exp(h) - 1;

    /// <summary>ρ with Σ_k r_k^(n-1) ρ_k = n! φ_(n+1)(h) h / B(h), n = 1, 2, ...; 1/2 for a single point.</summary>
    private double[] Weights(double h, double[] r)
    {
        if (r.Length <= 1)
            return [.. r.Select(_ => 0.5)];
        var b = new double[r.Length];
        double phi = (Math.Exp(h) - 1) / h - 1, factorial = 1;                            // h φ_2(h)
        for (int n = 1; n <= b.Length; n++)
        {
            b[n - 1] = phi * factorial / B(h);
            factorial *= n + 1;
            phi = phi / h - 1 / factorial;
        }

        // The system says what a linear form makes of the powers of x; ρ_k is what it makes of Lagrange's Π_j (x - r_j) / (r_k - r_j).
        double Weight(int k)
        {
            double[] form = b;
            foreach (double other in r.Where((_, j) => j != k))
                form = [.. form.Skip(1).Zip(form, (above, own) => (above - other * own) / (r[k] - other))];
            return form[0];
        }

        return [.. Enumerable.Range(0, r.Length).Select(Weight)];
    }
}
