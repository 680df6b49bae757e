using Microsoft.ML.Mobius.Diffusion;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Sampling;

/// <summary>
/// A video of which the first frames are given: a wrapper around any denoiser that has them predicted right, whatever the model predicts of them. At every step they
/// are thus the given ones at its noise, which the model sees beside the others (the replacement method, Ho et al. 2022, arXiv 2204.03458, section 3.1).
/// </summary>
internal static class HeldFrames
{
    /// <param name="denoise">The model.</param>
    /// <param name="schedule">The schedule that it was trained with.</param>
    /// <param name="given">Clean latents of the first k frames, [1, c, k, h, w].</param>
    public static Denoiser Holding(Denoiser denoise, NoiseSchedule schedule, Tensor given) => (z, t) =>
    {
        using var scope = NewDisposeScope();
        long held = given.shape[2], free = z.shape[2] - held;
        var right = schedule.PredictionOf(given, z.narrow(2, 0, held), NoiseLevel.OfRatio(schedule.Sigma(t)));
        return cat([right, denoise(z, t).narrow(2, held, free)], 2).MoveToOuterDisposeScope();
    };
}
