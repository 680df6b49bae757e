using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>
/// The forward process q(z_t | z_0) = N(√ᾱ_t z_0, (1 - ᾱ_t) I) with ᾱ_t = Π (1 - β_s), t = 0..T-1 (Ho et al. 2020, arXiv 2006.11239, eq. 4).
/// </summary>
internal sealed class NoiseSchedule
{
    private readonly double[] _alphaBar;

    public NoiseSchedule(NoiseScheduleConfig config)
    {
        Config = config;
        if (config.PredictionType != "epsilon")
            throw new NotSupportedException($"prediction_type '{config.PredictionType}' is not supported; only 'epsilon' is.");
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
            _alphaBar[t] = product *= 1 - beta(t);
    }

    public NoiseScheduleConfig Config { get; }

    /// <summary>T, the number of training time steps.</summary>
    public int Steps => _alphaBar.Length;

    /// <summary>ᾱ_t; for t below 0, what the last sampling step lands on: 1, or ᾱ_0 as the Stable Diffusion configs ask.</summary>
    public double AlphaBar(int t) => t >= 0 ? _alphaBar[t] : Config.SetAlphaToOne ? 1 : _alphaBar[0];

    /// <summary>
    /// 1/ᾱ_t, at most 20: by it the squared error of the predicted noise becomes that of the velocity (Salimans and Ho 2022, arXiv 2202.00512).
    /// </summary>
    public double VelocityWeight(int t) => Math.Min(1 / AlphaBar(t), 20);

    /// <summary>z_t = √ᾱ_t z_0 + √(1 - ᾱ_t) ε.</summary>
    /// <param name="latents">z_0, [B, c, F, h, w].</param>
    /// <param name="noise">ε, standard normal, of the same shape: independent for every frame.</param>
    /// <param name="t">One time step per clip, B of them.</param>
    /// <returns>[B, c, F, h, w]; belongs to the caller's scope.</returns>
    public Tensor AddNoise(Tensor latents, Tensor noise, IReadOnlyList<int> t)
    {
        Tensor PerClip(Func<double, double> f) => tensor([.. t.Select(step => (float)f(AlphaBar(step)))], device: latents.device)
            .reshape([t.Count, .. Enumerable.Repeat(1L, (int)latents.dim() - 1)]);
        return PerClip(Math.Sqrt) * latents + PerClip(a => Math.Sqrt(1 - a)) * noise;
    }
}
