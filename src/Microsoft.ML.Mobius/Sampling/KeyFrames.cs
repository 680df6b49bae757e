using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Sampling;

/// <summary>
/// A long video out of few frames that are spread over it: those between them are mixed from their latents, and the last steps are taken again for all of them, from
/// those on (SDEdit, Meng et al. 2022, arXiv 2108.01073), which makes one object out of two that fade into each other.
/// </summary>
internal static class KeyFrames
{
    /// <summary>Of the steps the share that is taken again: more makes each window move by itself, less leaves objects doubled.</summary>
    public const double RefinedShare = 0.2;

    /// <summary>All frames, by linear interpolation.</summary>
    /// <param name="keys">Latents of K of them, [1, c, K, h, w], the first and the last frame among them; of a loop K that are equally far apart.</param>
    /// <param name="frames">F.</param>
    /// <param name="loop">Whether the first frame follows the last.</param>
    /// <returns>[1, c, F, h, w].</returns>
    public static Tensor Between(Tensor keys, int frames, bool loop)
    {
        using var scope = NewDisposeScope();
        long count = keys.shape[2];
        double[] places = [.. Enumerable.Range(0, frames).Select(f => f * (loop ? (double)count / frames : (count - 1.0) / (frames - 1)))];
        Tensor At(Func<double, long> key) => keys.index_select(2, tensor([.. places.Select(key)], device: keys.device));
        var share = tensor([.. places.Select(place => (float)(place - Math.Floor(place)))], device: keys.device).reshape(1, 1, -1, 1, 1);
        return (At(place => (long)place) * (1 - share) + At(place => loop ? (long)Math.Ceiling(place) % count : (long)Math.Ceiling(place)) * share)
            .MoveToOuterDisposeScope();
    }
}
