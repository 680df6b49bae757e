namespace Microsoft.ML.Mobius.Layers;

/// <summary>How many parameters layers have, known before they are made.</summary>
internal static class ParameterCount
{
    public static long Linear(long inputs, long outputs) => (inputs + 1) * outputs;

    /// <param name="inChannels">Channels in.</param>
    /// <param name="outChannels">Channels out.</param>
    /// <param name="kernel">Places that the kernel covers: 9 of 3x3, 3 of (3, 1, 1).</param>
    public static long Convolution(long inChannels, long outChannels, int kernel) => (inChannels * kernel + 1) * outChannels;

    public static long Norm(long channels) => 2 * channels;

    /// <summary>Of a <see cref="ResnetBlock"/>.</summary>
    public static long Resnet(long inChannels, long outChannels, long? timeChannels) => Norm(inChannels) + Convolution(inChannels, outChannels, 9)
        + (timeChannels is { } time ? Linear(time, outChannels) : 0) + Norm(outChannels) + Convolution(outChannels, outChannels, 9)
        + (inChannels == outChannels ? 0 : Convolution(inChannels, outChannels, 1));

    /// <summary>Of a <see cref="SpatialTransformer"/> or <see cref="TemporalTransformer"/>.</summary>
    /// <param name="channels">Width of the stream.</param>
    /// <param name="inner">Width inside.</param>
    /// <param name="context">Width of what the second attention is over.</param>
    public static long Transformer(long channels, long inner, long context)
    {
        long attention1 = 3 * inner * inner + Linear(inner, inner), attention2 = (inner + 2 * context) * inner + Linear(inner, inner);
        return Norm(channels) + Linear(channels, inner) + Linear(inner, channels)
            + 3 * Norm(inner) + attention1 + attention2 + Linear(inner, 8 * inner) + Linear(4 * inner, inner);
    }

    /// <summary>Of a LoRA on the attentions of a transformer, their q, k, v and out.</summary>
    /// <param name="inner">Width inside.</param>
    /// <param name="context">Width of what the second attention is over.</param>
    /// <param name="rank">Of each pair of matrices.</param>
    public static long LoraOfAttentions(long inner, long context, long rank) => rank * (12 * inner + 2 * (inner + context));

    /// <summary>Of a LoRA on all linear layers of a transformer.</summary>
    /// <param name="channels">Width of the stream.</param>
    /// <param name="inner">Width inside.</param>
    /// <param name="context">Width of what the second attention is over.</param>
    /// <param name="rank">Of each pair of matrices.</param>
    public static long LoraOfTransformer(long channels, long inner, long context, long rank)
        => LoraOfAttentions(inner, context, rank) + rank * (2 * (channels + inner) + (inner + 8 * inner) + (4 * inner + inner));

    /// <summary>Of a <see cref="TemporalConvolution"/>.</summary>
    public static long TemporalConvolution(long channels, long inner, long? inChannels = null) => (inChannels is { } width ? FrameConvolution(width, channels) : 0)
        + FrameConvolution(channels, inner) + 2 * FrameConvolution(inner, inner) + FrameConvolution(inner, channels);

    private static long FrameConvolution(long inChannels, long outChannels) => Norm(inChannels) + Convolution(inChannels, outChannels, 3);
}
