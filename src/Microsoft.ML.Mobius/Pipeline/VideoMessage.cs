using System.Runtime.InteropServices;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius;

/// <summary>A clip as bytes, for other ranks: frames, height and width, the rate, and the pixels.</summary>
internal static class VideoMessage
{
    private const int Start = 4 * sizeof(double);

    public static byte[] Of(VideoClip clip)
        => [.. MemoryMarshal.AsBytes<double>([clip.FrameCount, clip.Height, clip.Width, clip.FrameRate]), .. clip.Pixels.Span];

    public static VideoClip Read(byte[] message)
    {
        var head = MemoryMarshal.Cast<byte, double>(message.AsSpan(0, Start));
        return new VideoClip(message.AsSpan(Start), (int)head[0], (int)head[1], (int)head[2], head[3]);
    }
}
