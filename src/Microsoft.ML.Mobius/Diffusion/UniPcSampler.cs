using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>
/// UniPC: a multistep predictor in λ = log(α / σ) and, at no further call of the model, its corrector (Zhao et al. 2023, arXiv 2302.04867, algorithms 5
/// to 8 with B(h) and eq. 3, 8 and 9).
/// </summary>
internal sealed record UniPcSampler : SigmaSampler
{
    /// <summary>1 to 3 predictions for a step.</summary>
    public int Order { get; init; } = 2;

    /// <summary>Whether the model's prediction is taken as ε rather than z_0.</summary>
    public bool PredictsNoise { get; init; }

    /// <summary>Whether B(h) = h rather than e^h - 1.</summary>
    public bool LinearB { get; init; }

    /// <summary>Whether the last steps are of lower order.</summary>
    public bool LowerOrderFinal { get; init; } = true;

    public static UniPcSampler Of(NoiseScheduleConfig config)
    {
        if (config.Setting<int[]>("disable_corrector", []) is { Length: > 0 })
            throw new NotSupportedException("disable_corrector is not supported by UniPC; an empty list is.");
        return new()
        {
            Spacing = config.Spacing(TimestepSpacing.Linspace),
            SigmaSpacing = config.KarrasSigmas ? SigmaSpacing.Karras : SigmaSpacing.Timesteps,
            Order = config.SolverOrder,
            PredictsNoise = !config.Setting("predict_x0", true),
            LinearB = config.OneOf("solver_type", "bh2", "bh1", "midpoint", "heun", "logrho") == "bh1",
            LowerOrderFinal = config.Setting("lower_order_final", true),
        };
    }

    public override SigmaGrid Grid(NoiseSchedule schedule, int steps) => SigmaGrid.ToFirst(schedule, steps, Spacing, SigmaSpacing);

    protected override Func<Tensor, int, Tensor> Stepping(Denoiser denoise, NoiseSchedule schedule, int steps, Func<Tensor> draw)
    {
        var grid = Grid(schedule, steps);
        var (m, start) = (new Recent(Order), new Recent(1));                              // predictions, and z that the last step began with
        int order = 0;
        double Lambda(int i) => PredictsNoise ? -grid.Level(i).LogSnr : grid.Level(i).LogSnr;

        // From level i to the next: first order and Σ ρ_k D_k / r_k over earlier points and, for the corrector, that which is reached.
        Tensor Update(Tensor z, int i, Tensor? reached)
        {
            double h = Lambda(i + 1) - Lambda(i), phi1 = Math.Exp(-h) - 1;
            if (h == 0)
                return z.alias();
            NoiseLevel now = grid.Level(i), next = grid.Level(i + 1);
            var (kept, scale) = PredictsNoise ? (next.Signal / now.Signal, next.Noise) : (next.Noise / now.Noise, next.Signal);
            var points = Enumerable.Range(1, order - 1).Select(k => (R: (Lambda(i - k) - Lambda(i)) / h, D: m[k] - m[0])).ToList();
            if (reached is not null)
                points.Add((1, reached - m[0]));
            var result = kept * z - scale * phi1 * m[0];
            foreach (var (rho, (r, d)) in Weights(-h, [.. points.Select(point => point.R)]).Zip(points))
                result -= scale * B(-h) * rho / r * d;
            return result;
        }

        return (z, i) =>
        {
            var prediction = denoise(z, grid.Times[i]);
            var made = PredictsNoise ? schedule.NoiseOf(prediction, z, grid.Level(i)) : schedule.CleanOf(prediction, z, grid.Level(i));
            var corrected = i == 0 ? z : Update(start[0], i - 1, made);
            m.Add(made);
            start.Add(corrected);
            order = Math.Min(LowerOrderFinal ? Math.Min(Order, steps - i) : Order, m.Count);
            return Update(corrected, i, reached: null);
        };
    }

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
        var powers = stack(Enumerable.Range(0, r.Length).Select(n => tensor([.. r.Select(one => Math.Pow(one, n))], ScalarType.Float64, CPU)));
        return linalg.solve(powers, tensor(b, ScalarType.Float64, CPU)).data<double>().ToArray();
    }
}
