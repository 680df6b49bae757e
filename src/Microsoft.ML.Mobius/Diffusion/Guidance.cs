using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>
/// Classifier-free guidance, ε = ε(∅) + w (ε(c) - ε(∅)) (Ho and Salimans 2022, arXiv 2207.12598, with w = 1 the plain conditional model).
/// </summary>
internal static class Guidance
{
    /// <summary>A denoiser for one caption out of a model that takes text.</summary>
    /// <param name="model">(z [2, ...], t, text [2, N, D]) -> ε; called with one row instead of two where w is 1.</param>
    /// <param name="negative">Text states of the negative prompt, [1, N, D].</param>
    /// <param name="positive">Text states of the prompt, [1, N, D].</param>
    /// <param name="scale">w.</param>
    /// <param name="rescale">
    /// φ, 0 to 1: how far the prediction's standard deviation, which guidance raises, is brought back to that of ε(c) (Lin et al. 2023,
    /// arXiv 2305.08891, section 3.4).
    /// </param>
    public static Denoiser Guided(
        Func<Tensor, double, Tensor, Tensor> model, Tensor negative, Tensor positive, double scale, double rescale = 0)
    {
        if (scale == 1)
            return (z, t) => model(z, t, positive);
        var both = cat([negative, positive], 0);
        return (z, t) =>
        {
            var parts = model(cat([z, z], 0), t, both).chunk(2, 0);
            var guided = parts[0] + scale * (parts[1] - parts[0]);
            return rescale == 0 ? guided : rescale * (parts[1].std() / guided.std()) * guided + (1 - rescale) * guided;
        };
    }
}
