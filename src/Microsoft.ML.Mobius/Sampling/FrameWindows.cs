using Microsoft.ML.Mobius.Diffusion;
using Microsoft.ML.Mobius.Torch;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Sampling;

/// <summary>
/// Which frames a model sees at a time: a wrapper around any denoiser. Of a clip longer than the window it sees overlapping windows, one after the other, and
/// the predictions of a frame are averaged (MultiDiffusion, Bar-Tal et al. 2023, arXiv 2302.08113, along time as in Gen-L-Video, Wang et al. 2023,
/// arXiv 2305.18264), so that memory is that of one window. Of a loop the windows go on over the end, and begin one frame later with each call (latent shift, Bi et
/// al. 2025, arXiv 2502.20307), so that every place between two frames is an end of windows at some step. A loop that one window holds has no ends: see
/// <see cref="Layers.FrameCircle"/>.
/// </summary>
internal static class FrameWindows
{
    /// <summary>A denoiser of all the frames out of one of windows.</summary>
    /// <param name="denoise">The model: [B, c, W, h, w] -> the same.</param>
    /// <param name="frames">F of the clip.</param>
    /// <param name="window">W, frames that the model sees at a time; 0 for all.</param>
    /// <param name="overlap">Frames that a window shares with the one before, 0 to W - 1; those at the end may share more.</param>
    /// <param name="loop">Whether the first frame follows the last.</param>
    public static Denoiser Over(Denoiser denoise, int frames, int window, int overlap, bool loop)
    {
        int length = window == 0 ? frames : Math.Min(window, frames), calls = 0;
        if (length == frames)
            return denoise;
        int[] starts = Starts(frames, length, length - overlap, loop);
        return (z, t) =>
        {
            using var scope = NewDisposeScope();
            int shift = loop ? calls++ % frames : 0;
            Tensor sum = zeros_like(z), total = zeros([1, 1, frames, 1, 1], dtype: z.dtype, device: z.device);
            foreach (int start in starts)
            {
                using var inner = NewDisposeScope();
                var at = tensor([.. Enumerable.Range(start + shift, length).Select(f => (long)f % frames)]).OnDevice(z.device);
                var weight = Ramp(length).to(z.dtype).OnDevice(z.device);
                sum.index_add_(2, at, weight * denoise(z.index_select(2, at), t), 1);
                total.index_add_(2, at, weight, 1);
            }
            return (sum / total).MoveToOuterDisposeScope();
        };
    }

    /// <summary>The first frames of the windows; of a loop they are all equally far apart, or the last two nearer.</summary>
    internal static int[] Starts(int frames, int length, int stride, bool loop)
        => loop ? [.. Every(frames, stride)] : [.. Every(frames - length, stride), frames - length];

    private static IEnumerable<int> Every(int end, int stride) => Enumerable.Range(0, (end + stride - 1) / stride).Select(i => i * stride);

    /// <summary>Up to the middle of a window and down again: what it knows least of is its ends. [1, 1, W, 1, 1].</summary>
    private static Tensor Ramp(int length)
        => tensor([.. Enumerable.Range(0, length).Select(i => (float)Math.Min(i + 1, length - i))]).reshape(1, 1, length, 1, 1);
}
