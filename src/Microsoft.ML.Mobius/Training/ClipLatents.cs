using System.Security.Cryptography;
using System.Text;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Torch;
using Microsoft.ML.Mobius.Video;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>A clip as training needs it: the posterior of its latents.</summary>
/// <param name="Mean">[c, F, h, w], scaled, on the CPU, in no dispose scope: a GPU is given those of a batch alone.</param>
/// <param name="Deviation">As the mean.</param>
/// <param name="Pixels">Tells the clip's frames from others: a hash of them and their number and size.</param>
internal sealed record ClipLatents(Tensor Mean, Tensor Deviation, string Pixels) : IDisposable
{
    /// <summary>Of a long clip; their activations are the peak of memory.</summary>
    private const int FramesAtOnce = 32;

    /// <summary>Encodes a clip.</summary>
    /// <exception cref="InvalidDataException">Its latents are not finite.</exception>
    public static ClipLatents Of(TextToVideoModel model, VideoClip clip)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var frames = tensor(clip.Pixels.Span.ToArray()).OnDevice(model.Device).reshape(clip.FrameCount, clip.Height, clip.Width, 3)
            .permute(0, 3, 1, 2).to(ScalarType.Float32).div(127.5).sub(1).contiguous();   // [F, 3, H, W] in [-1, 1]
        var parts = frames.split(FramesAtOnce).Select(part => Posterior(model, part)).ToList();
        var (mean, logVariance) = (cat([.. parts.Select(part => part.Mean)]), cat([.. parts.Select(part => part.LogVariance)]));
        if (!(mean.isfinite().all() & logVariance.isfinite().all()).item<bool>())
            throw new InvalidDataException($"The autoencoder makes latents that are not finite of {clip}{(clip.Source is { } file ? $" of '{file}'" : "")}.");
        double scale = model.Autoencoder.Config().ScalingFactor;

        Tensor Keep(Tensor perFrame) => perFrame.mul(scale).transpose(0, 1).contiguous().cpu().DetachFromDisposeScope();   // [c, F, h, w]
        return new ClipLatents(Keep(mean), Keep(logVariance.mul(0.5).exp()), HashOf(clip));
    }

    /// <summary>A hash of a clip's frames and their number and size.</summary>
    public static string HashOf(VideoClip clip)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes(FormattableString.Invariant($"{clip.FrameCount} {clip.Height} {clip.Width} ")));
        hash.AppendData(clip.Pixels.Span);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private static (Tensor Mean, Tensor LogVariance) Posterior(TextToVideoModel model, Tensor frames)
    {
        using var scope = NewDisposeScope();
        var (mean, logVariance) = model.Autoencoder.Posterior(frames);
        return (mean.MoveToOuterDisposeScope(), logVariance.MoveToOuterDisposeScope());
    }

    public void Dispose()
    {
        Mean.Dispose();
        Deviation.Dispose();
    }
}
