namespace Microsoft.ML.Mobius.Training;

/// <summary>How much the noise levels count in the loss.</summary>
public enum LossWeighting
{
    /// <summary>The squared error of the predicted noise at every level alike, as the image models were trained (Ho et al. 2020).</summary>
    Uniform,

    /// <summary>
    /// The squared error of the noise times 1/ᾱ, at most 20: that of the velocity (Salimans and Ho 2022, arXiv 2202.00512). High noise counts more, and it
    /// is there that it is decided where things are and how they move.
    /// </summary>
    Velocity,

    /// <summary>
    /// Min-SNR with γ = 5 (Hang et al. 2023, arXiv 2303.09556): the squared error of the noise times min(SNR, 5) / SNR. Low noise, where there is
    /// little left to learn, counts less.
    /// </summary>
    MinSnr,
}
