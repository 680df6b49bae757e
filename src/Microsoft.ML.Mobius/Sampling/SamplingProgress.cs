using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Sampling;

/// <summary>Where the generation of a video stands.</summary>
public sealed class SamplingProgress
{
    private Func<VideoClip>? _preview;

    internal SamplingProgress(int step, int steps, Func<VideoClip> preview) => (Step, Steps, _preview) = (step, steps, preview);

    /// <summary>Calls of the model done, from 1.</summary>
    public int Step { get; }

    /// <summary>Calls of the model in all; with <see cref="SamplerKind.Pndm"/> more than the steps asked for.</summary>
    public int Steps { get; }

    /// <summary>The video as the model expects it by now, blurred at first; decoding it takes as long as that of the result.</summary>
    /// <returns>A clip of the length and size of the result.</returns>
    /// <exception cref="InvalidDataException">The model gave a value that is not finite.</exception>
    /// <exception cref="InvalidOperationException">The callback that was given this has returned.</exception>
    public VideoClip Preview() => (_preview ?? throw new InvalidOperationException("A preview is to be had within the callback only."))();

    /// <summary>The tensors are the next step's from now on.</summary>
    internal void End() => _preview = null;
}
