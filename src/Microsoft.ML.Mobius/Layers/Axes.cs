using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Layers;

/// <summary>
/// The one place that regroups the axes of a video: B batch, C channels, F frames, h and w height and width.
/// A stream is [B·F, C, h, w] with the frame index fastest, so spatial layers see a batch of images.
/// </summary>
internal static class Axes
{
    /// <summary>[B, C, F, h, w] -> [B·F, C, h, w].</summary>
    public static Tensor FramesToBatch(Tensor video)
        => video.permute(0, 2, 1, 3, 4).reshape(video.shape[0] * video.shape[2], video.shape[1], video.shape[3], video.shape[4]);

    /// <summary>[B·F, C, h, w] -> [B, C, F, h, w].</summary>
    public static Tensor BatchToFrames(Tensor images, long frames)
        => images.reshape(-1, frames, images.shape[1], images.shape[2], images.shape[3]).permute(0, 2, 1, 3, 4);

    /// <summary>[B, C, F, h, w] -> [B·h·w, F, C]: one sequence of frames per position.</summary>
    public static Tensor PositionsToBatch(Tensor video)
        => video.permute(0, 3, 4, 2, 1).reshape(-1, video.shape[2], video.shape[1]);

    /// <summary>[B·h·w, F, C] -> [B·F, C, h, w].</summary>
    public static Tensor PositionsToFrames(Tensor sequences, long height, long width)
    {
        long frames = sequences.shape[1], channels = sequences.shape[2];
        return sequences.reshape(-1, height, width, frames, channels).permute(0, 3, 4, 1, 2)
            .reshape(-1, channels, height, width);
    }
}
