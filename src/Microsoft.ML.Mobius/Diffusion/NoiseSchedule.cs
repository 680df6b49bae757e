using Microsoft.ML.Mobius.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>
/// The forward process q(z_t | z_0) = N(√ᾱ_t z_0, (1 - ᾱ_t) I) with ᾱ_t = Π (1 - β_s), t = 0..T-1 (Ho et al. 2020, arXiv 2006.11239, eq. 4).
/// </summary>
internal sealed class NoiseSchedule
{
    private const string Epsilon = "epsilon", Velocity = "v_prediction", Sample = "sample";
    private const double LeastAlphaBar = 1.0 / (1 << 24);                                 // where σ shall be finite, as in diffusers

    private readonly double[] _alphaBar, _sigma;

    public NoiseSchedule(NoiseScheduleConfig config)
    {
        Config = config;
        if (config.PredictionType is not (Epsilon or Velocity or Sample))
            throw new NotSupportedException(
                $"prediction_type '{config.PredictionType}' is not supported; '{Epsilon}', '{Velocity}' and '{Sample}' are.");
        if (config.FrameCorrelation is { } correlation && !(correlation is >= 0 and < 1))
            throw new NotSupportedException(FormattableString.Invariant($"frame_correlation {correlation} is not supported; 0 up to but not including 1 is."));
        bool zeroTerminal = config.RescaleBetasZeroSnr == true;
        if (zeroTerminal && config.PredictionType == Epsilon)
            throw new NotSupportedException(
                $"rescale_betas_zero_snr needs prediction_type '{Velocity}' or '{Sample}': from pure noise, '{Epsilon}' tells nothing.");
        float[] betas = Betas(config);
        _alphaBar = [.. AlphaBars(zeroTerminal ? ZeroTerminalSnr(betas) : betas)];
        _sigma = [.. _alphaBar.Select(a => Math.Max(a, LeastAlphaBar)).Select(a => Math.Sqrt((1 - a) / a))];
    }

    public NoiseScheduleConfig Config { get; }

    /// <summary>T, the number of training time steps.</summary>
    public int Steps => _alphaBar.Length;

    /// <summary>ᾱ_t; for t below 0, what the last sampling step lands on: 1, or ᾱ_0 as the Stable Diffusion configs ask.</summary>
    public double AlphaBar(int t) => t >= 0 ? _alphaBar[t] : Config.SetAlphaToOne ? 1 : _alphaBar[0];

    /// <summary>√ᾱ_t and √(1 - ᾱ_t); t as in <see cref="AlphaBar"/>.</summary>
    public NoiseLevel Level(int t) => new(Math.Sqrt(AlphaBar(t)), Math.Sqrt(1 - AlphaBar(t)));

    /// <summary>√((1 - ᾱ_t) / ᾱ_t), linear between two time steps; at most 4096: no ᾱ counts as less than 2^-24.</summary>
    /// <param name="t">0 to T - 1.</param>
    public double Sigma(double t)
    {
        int low = (int)t;
        return low == t ? _sigma[low] : _sigma[low] + (t - low) * (_sigma[low + 1] - _sigma[low]);
    }

    /// <summary>The time step of a <see cref="Sigma"/>, linear in log σ between two; 0 to T - 1.</summary>
    public double TimeOf(double sigma)
    {
        int above = Array.FindIndex(_sigma, one => one > sigma);
        if (above <= 0)
            return above == 0 ? 0 : Steps - 1;
        double low = Math.Log(_sigma[above - 1]), high = Math.Log(_sigma[above]);
        return above - 1 + (Math.Log(sigma) - low) / (high - low);
    }

    /// <summary>
    /// By it the squared error of the prediction becomes that of the velocity (Salimans and Ho 2022, arXiv 2202.00512); at most 20. For
    /// predicted noise 1/ᾱ_t.
    /// </summary>
    public double VelocityWeight(int t) => Math.Min(20, Config.PredictionType switch
    {
        Velocity => 1,
        Sample => 1 / (1 - AlphaBar(t)),
        _ => 1 / AlphaBar(t),
    });

    /// <summary>
    /// By it the squared error of the prediction becomes min(SNR, γ) times that of the clean latents, with SNR = ᾱ_t / (1 - ᾱ_t) (Hang et al.
    /// 2023, arXiv 2303.09556). For predicted noise min(SNR, γ) / SNR, for the velocity min(SNR, γ) / (SNR + 1).
    /// </summary>
    /// <param name="t">Time step, 0 to T - 1.</param>
    /// <param name="gamma">γ; the paper takes 5.</param>
    public double MinSnrWeight(int t, double gamma)
    {
        double snr = AlphaBar(t) / (1 - AlphaBar(t)), least = Math.Min(snr, gamma);
        return Config.PredictionType switch
        {
            Velocity => least / (snr + 1),
            Sample => least,
            _ => least / snr,
        };
    }

    /// <summary>
    /// Draws ε, standard normal; two frames of a clip are correlated by the config's ρ: √ρ of what they share and √(1 - ρ) of their own (PYoCo, Ge et al.
    /// 2023, arXiv 2305.10474, mixed noise with α² = ρ / (1 - ρ)).
    /// </summary>
    /// <param name="shape">[B, c, F, h, w].</param>
    /// <param name="generator">Of the CPU.</param>
    /// <returns>On the CPU; belongs to the caller's scope.</returns>
    public Tensor Prior(long[] shape, Generator generator)
    {
        var own = randn(shape, generator: generator);
        if (Config.FrameCorrelation is not > 0)
            return own;
        double correlation = Config.FrameCorrelation.Value;
        var shared = randn([.. shape[..2], 1, .. shape[3..]], generator: generator);
        return Math.Sqrt(correlation) * shared + Math.Sqrt(1 - correlation) * own;
    }

    /// <summary>z_t = √ᾱ_t z_0 + √(1 - ᾱ_t) ε.</summary>
    /// <param name="latents">z_0, [B, c, F, h, w].</param>
    /// <param name="noise">ε of <see cref="Prior"/>, of the same shape.</param>
    /// <param name="t">One time step per clip, B of them.</param>
    /// <returns>[B, c, F, h, w]; belongs to the caller's scope.</returns>
    public Tensor AddNoise(Tensor latents, Tensor noise, IReadOnlyList<int> t)
        => Signal(latents, t) * latents + Noise(latents, t) * noise;

    /// <summary>What the model is to predict of z_t, by prediction_type: ε, z_0, or the velocity √ᾱ_t ε - √(1 - ᾱ_t) z_0.</summary>
    /// <param name="latents">z_0, [B, c, F, h, w].</param>
    /// <param name="noise">ε, of the same shape.</param>
    /// <param name="t">One time step per clip, B of them.</param>
    /// <returns>[B, c, F, h, w]; belongs to the caller's scope.</returns>
    public Tensor Target(Tensor latents, Tensor noise, IReadOnlyList<int> t) => Config.PredictionType switch
    {
        Velocity => Signal(latents, t) * noise - Noise(latents, t) * latents,
        Sample => latents.alias(),
        _ => noise.alias(),
    };

    /// <summary>The noise in z that a prediction means.</summary>
    /// <param name="prediction">What the model gave: ε, z_0 or the velocity, by prediction_type.</param>
    /// <param name="z">α z_0 + σ ε, of the same shape.</param>
    /// <param name="level">α and σ.</param>
    /// <returns>ε; belongs to the caller's scope.</returns>
    public Tensor NoiseOf(Tensor prediction, Tensor z, NoiseLevel level) => Config.PredictionType switch
    {
        Velocity => level.Signal * prediction + level.Noise * z,
        Sample => (z - level.Signal * prediction) / level.Noise,
        _ => prediction.alias(),
    };

    /// <summary>The clean latents in z that a prediction means.</summary>
    /// <param name="prediction">What the model gave: ε, z_0 or the velocity, by prediction_type.</param>
    /// <param name="z">α z_0 + σ ε, of the same shape.</param>
    /// <param name="level">α and σ.</param>
    /// <param name="clipRange">What they are clamped to; null for nothing.</param>
    /// <returns>z_0; belongs to the caller's scope.</returns>
    public Tensor CleanOf(Tensor prediction, Tensor z, NoiseLevel level, double? clipRange = null)
    {
        var clean = Config.PredictionType switch
        {
            Velocity => level.Signal * z - level.Noise * prediction,
            Sample => prediction.alias(),
            _ => (z - level.Noise * prediction) / level.Signal,
        };
        return clipRange is { } range ? clean.clamp(-range, range) : clean;
    }

    /// <summary>What the model would have to predict of z for the clean latents in it to be these: the inverse of <see cref="CleanOf"/>.</summary>
    /// <param name="clean">z_0.</param>
    /// <param name="z">α z_0 + σ ε, of the same shape.</param>
    /// <param name="level">α and σ, not 0.</param>
    /// <returns>ε, z_0 or the velocity, by prediction_type; belongs to the caller's scope.</returns>
    public Tensor PredictionOf(Tensor clean, Tensor z, NoiseLevel level) => Config.PredictionType switch
    {
        Velocity => (level.Signal * z - clean) / level.Noise,
        Sample => clean.alias(),
        _ => (z - level.Signal * clean) / level.Noise,
    };

    /// <summary>√ᾱ_t of every clip.</summary>
    private Tensor Signal(Tensor latents, IReadOnlyList<int> t) => PerClip(latents, t, Math.Sqrt);

    /// <summary>√(1 - ᾱ_t) of every clip.</summary>
    private Tensor Noise(Tensor latents, IReadOnlyList<int> t) => PerClip(latents, t, alphaBar => Math.Sqrt(1 - alphaBar));

    private Tensor PerClip(Tensor latents, IReadOnlyList<int> t, Func<double, double> f)
        => tensor([.. t.Select(step => (float)f(AlphaBar(step)))]).OnDevice(latents.device)
            .reshape([t.Count, .. Enumerable.Repeat(1L, (int)latents.dim() - 1)]);

    // From here on single precision, with every rounding of PyTorch's: what published models were trained with. Where the last ᾱ shall be 0, a
    // unit in the last place of β decides the fifth digit of those before it.

    /// <summary>β_t of all t.</summary>
    private static float[] Betas(NoiseScheduleConfig config)
    {
        int steps = config.TrainTimesteps;
        double Cosine(int t) => Math.Pow(Math.Cos(((double)t / steps + 0.008) / 1.008 * Math.PI / 2), 2);
        return config.BetaSchedule switch
        {
            "linear" => Evenly((float)config.BetaStart, (float)config.BetaEnd, steps),
            "scaled_linear" =>
                [.. Evenly((float)Math.Sqrt(config.BetaStart), (float)Math.Sqrt(config.BetaEnd), steps).Select(root => root * root)],
            "squaredcos_cap_v2" => [.. Enumerable.Range(0, steps).Select(t => (float)Math.Min(1 - Cosine(t + 1) / Cosine(t), 0.999))],
            var other => throw new NotSupportedException(
                $"beta_schedule '{other}' is not supported; 'linear', 'scaled_linear' and 'squaredcos_cap_v2' are."),
        };
    }

    /// <summary>So many numbers from start to end, as torch.linspace on processors with AVX2: in vectors of eight, that begin at the nearer end.</summary>
    private static float[] Evenly(float start, float end, int count)
    {
        const int Lanes = 8;
        float step = (end - start) / Math.Max(1, count - 1);
        float First(int i)
            => i < count / 2 ? MathF.FusedMultiplyAdd(step, i, start) : MathF.FusedMultiplyAdd(-step, count - 1 - i, end);
        return [.. Enumerable.Range(0, count).Select(i => MathF.FusedMultiplyAdd(step, i % Lanes, First(i - i % Lanes)))];
    }

    /// <summary>ᾱ_t of all t: the product in double, each of them rounded.</summary>
    private static float[] AlphaBars(float[] betas)
    {
        double product = 1;
        return [.. betas.Select(beta => (float)(product *= 1 - beta))];
    }

    /// <summary>
    /// The betas of which √ᾱ is shifted and scaled such that its last is 0 and its first stays (Lin et al. 2023, arXiv 2305.08891, algorithm 1).
    /// </summary>
    private static float[] ZeroTerminalSnr(float[] betas)
    {
        float[] signal = [.. AlphaBars(betas).Select(MathF.Sqrt)];
        float last = signal[^1], scale = signal[0] / (signal[0] - last);
        float[] alphaBar = [.. signal.Select(one => (one - last) * scale).Select(scaled => scaled * scaled)];
        return [1 - alphaBar[0], .. alphaBar.Skip(1).Zip(alphaBar, (own, before) => 1 - own / before)];
    }
}
