using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius;

/// <summary>What a video starts from beside its prompt, where that is not the noise of its seed.</summary>
public sealed record GenerationStart
{
    /// <summary>
    /// A clip of the size that the options say, of which <see cref="GenerationOptions.Strength"/> and <see cref="GenerationOptions.HeldFrames"/> say what becomes of it. It
    /// must have all the frames of the video where Strength is below 1, else as many as are held. The default is null, none.
    /// </summary>
    public VideoClip? Source { get; init; }

    /// <summary>
    /// The first noise, standard normal, in the order [c, F, h, w]: c channels of the model's latents, F frames, h and w height and width in latents. The default is empty: that
    /// of the seed.
    /// </summary>
    public ReadOnlyMemory<float> Noise { get; init; }
}
