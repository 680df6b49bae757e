using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>
/// The forward process q(z_t | z_0) = N(√ᾱ_t z_0, (1 - ᾱ_t) I) with ᾱ_t = Π (1 - β_s), t = 0..T-1 (Ho et al. 2020, arXiv 2006.11239, eq. 4).
/// </summary>
internal sealed class NoiseSchedule
{
    private const string Epsilon = "epsilon", Velocity = "v_prediction", Sample = "sample";

    private readonly double[] _alphaBar;

    public NoiseSchedule(NoiseScheduleConfig config)
    {
        Config = config;
        if (config.PredictionType is not (Epsilon or Velocity or Sample))
            throw new NotSupportedException(
                $"prediction_type '{config.PredictionType}' is not supported; '{Epsilon}', '{Velocity}' and '{Sample}' are.");
        int steps = config.TrainTimesteps;
        double Between(double low, double high, int t) => low + (high - low) * t / (steps - 1);
        Func<int, double> beta = config.BetaSchedule switch
        {
            "linear" => t => Between(config.BetaStart, config.BetaEnd, t),
            "scaled_linear" => t => Math.Pow(Between(Math.Sqrt(config.BetaStart), Math.Sqrt(config.BetaEnd), t), 2),
            var other => throw new NotSupportedException($"beta_schedule '{other}' is not supported; 'linear' and 'scaled_linear' are."),
        };
        _alphaBar = new double[steps];
        double product = 1;
        for (int t = 0; t < steps; t++)
            _alphaBar[t] = product *= (float)(1 - (float)beta(t));      // rounded as diffusers does, so as published models were trained
    }

    public NoiseScheduleConfig Config { get; }

    /// <summary>T, the number of training time steps.</summary>
    public int Steps => _alphaBar.Length;

    /// <summary>ᾱ_t; for t below 0, what the last sampling step lands on: 1, or ᾱ_0 as the Stable Diffusion configs ask.</summary>
    public double AlphaBar(int t) => t >= 0 ? _alphaBar[t] : Config.SetAlphaToOne ? 1 : _alphaBar[0];

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

    /// <summary>z_t = √ᾱ_t z_0 + √(1 - ᾱ_t) ε.</summary>
    /// <param name="latents">z_0, [B, c, F, h, w].</param>
    /// <param name="noise">ε, standard normal, of the same shape: independent for every frame.</param>
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

    /// <summary>The noise in z_t that a prediction means.</summary>
    /// <param name="prediction">What the model gave: ε, z_0 or the velocity, by prediction_type.</param>
    /// <param name="z">z_t, of the same shape.</param>
    /// <param name="t">The time step.</param>
    /// <returns>ε; belongs to the caller's scope.</returns>
    public Tensor NoiseOf(Tensor prediction, Tensor z, int t)
    {
        double signal = Math.Sqrt(AlphaBar(t)), noise = Math.Sqrt(1 - AlphaBar(t));
        return Config.PredictionType switch
        {
            Velocity => signal * prediction + noise * z,
            Sample => (z - signal * prediction) / noise,
            _ => prediction.alias(),
        };
    }

    /// <summary>√ᾱ_t of every clip.</summary>
    private Tensor Signal(Tensor latents, IReadOnlyList<int> t) => PerClip(latents, t, Math.Sqrt);

    /// <summary>√(1 - ᾱ_t) of every clip.</summary>
    private Tensor Noise(Tensor latents, IReadOnlyList<int> t) => PerClip(latents, t, alphaBar => Math.Sqrt(1 - alphaBar));

    private Tensor PerClip(Tensor latents, IReadOnlyList<int> t, Func<double, double> f)
        => tensor([.. t.Select(step => (float)f(AlphaBar(step)))], device: latents.device)
            .reshape([t.Count, .. Enumerable.Repeat(1L, (int)latents.dim() - 1)]);
}
