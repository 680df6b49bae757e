namespace Microsoft.ML.Mobius.Sampling;

/// <summary>What generating a video will take in memory, in bytes, told before it is spent.</summary>
/// <remarks>
/// Denoising and decoding come one after the other, but what the first took is not all given back before the video is there. What reads or writes the video, and the rest of the
/// program, is not in it.
/// </remarks>
public sealed class GenerationEstimate
{
    internal GenerationEstimate(long weights, long denoising, long decoding, long video)
        => (Weights, Denoising, Decoding, Video) = (weights, denoising, decoding, video);

    /// <summary>The most at once.</summary>
    public long PeakBytes => Weights + Math.Max(Denoising, Decoding) + Video;

    /// <summary>Text encoder, autoencoder and U-Net.</summary>
    public long Weights { get; }

    /// <summary>A pass through the U-Net, or two at a time, and all frames' latents.</summary>
    public long Denoising { get; }

    /// <summary>One picture on its way through the autoencoder.</summary>
    public long Decoding { get; }

    /// <summary>The video itself.</summary>
    public long Video { get; }

    /// <summary>The peak and its parts in MiB.</summary>
    public override string ToString() => FormattableString.Invariant(
        $"about {PeakBytes >> 20:N0} MiB at the peak (weights {Weights >> 20:N0}, denoising {Denoising >> 20:N0}, decoding {Decoding >> 20:N0}, video {Video >> 20:N0})");
}
