using System.Security.Cryptography;
using System.Text;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Video;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>
/// The clips of a training run as the model sees them: captions, and the latents' posterior per clip, encoded once when the clip is added, so that
/// neither pixels nor the autoencoder are needed again.
/// </summary>
internal sealed class TrainingData(TextToVideoModel model) : IDisposable
{
    private readonly List<(string Caption, Tensor Mean, Tensor Deviation)> _clips = [];
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    public int Count => _clips.Count;

    /// <summary>Tells these captions and pixels, in this order, from others.</summary>
    public string Hash => Convert.ToHexStringLower(_hash.GetCurrentHash())[..16];

    /// <summary>Encodes a clip; its size in frames and pixels must be that of the others.</summary>
    /// <exception cref="InvalidDataException">Its latents are not finite.</exception>
    public void Add(string caption, VideoClip clip)
    {
        _hash.AppendData(Encoding.UTF8.GetBytes(FormattableString.Invariant($"{clip.FrameCount} {clip.Height} {clip.Width} {caption.Length} {caption}")));
        _hash.AppendData(clip.Pixels.Span);
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var frames = tensor(clip.Pixels.Span.ToArray(), device: model.Device).reshape(clip.FrameCount, clip.Height, clip.Width, 3)
            .permute(0, 3, 1, 2).to(ScalarType.Float32).div(127.5).sub(1).contiguous();   // [F, 3, H, W] in [-1, 1]
        var (mean, logVariance) = model.Autoencoder.Posterior(frames);
        if (!(mean.isfinite().all() & logVariance.isfinite().all()).item<bool>())
            throw new InvalidDataException($"The autoencoder makes latents that are not finite of the clip {_clips.Count} '{caption}'.");
        double scale = model.Autoencoder.Config().ScalingFactor;

        Tensor Keep(Tensor perFrame) => perFrame.mul(scale).transpose(0, 1).contiguous().DetachFromDisposeScope();   // [c, F, h, w]
        _clips.Add((caption, Keep(mean), Keep(logVariance.mul(0.5).exp())));
    }

    public string Caption(int clip) => _clips[clip].Caption;

    /// <summary>A draw from the latents' posterior, [B, c, F, h, w]; belongs to the caller's scope.</summary>
    public Tensor Latents(IReadOnlyList<int> clips, Generator generator)
    {
        using var scope = NewDisposeScope();
        var mean = stack(clips.Select(i => _clips[i].Mean));
        var deviation = stack(clips.Select(i => _clips[i].Deviation));
        return (mean + deviation * randn(mean.shape, generator: generator).to(mean.device)).MoveToOuterDisposeScope();
    }

    public void Dispose()
    {
        foreach (var (_, mean, deviation) in _clips)
        {
            mean.Dispose();
            deviation.Dispose();
        }
        _clips.Clear();
        _hash.Dispose();
    }
}
