namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>What z = α z_0 + σ ε is made of, α² + σ² = 1.</summary>
/// <param name="Signal">α = √ᾱ.</param>
/// <param name="Noise">σ = √(1 - ᾱ).</param>
internal readonly record struct NoiseLevel(double Signal, double Noise)
{
    /// <summary>No noise at all: z = z_0.</summary>
    public static NoiseLevel Clean { get; } = new(1, 0);

    /// <param name="ratio">σ / α, which Karras et al. (2022, arXiv 2206.00364) call σ.</param>
    public static NoiseLevel OfRatio(double ratio) => new(1 / Math.Sqrt(1 + ratio * ratio), ratio / Math.Sqrt(1 + ratio * ratio));

    /// <summary>λ = log(α / σ), half the logarithm of the signal-to-noise ratio.</summary>
    public double LogSnr => Math.Log(Signal / Noise);
}
