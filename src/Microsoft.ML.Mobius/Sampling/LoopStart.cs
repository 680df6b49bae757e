using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Sampling;

/// <summary>Where a loop, which is a circle, begins: between the two neighbours that differ least. Players halt there for a moment, and there least moves.</summary>
internal static class LoopStart
{
    /// <param name="loop">A clip whose first frame follows its last.</param>
    /// <returns>The same, rolled.</returns>
    public static VideoClip Chosen(VideoClip loop)
    {
        int frames = loop.FrameCount;
        int start = Enumerable.Range(0, frames).MinBy(f => Difference(loop.Frame((f + frames - 1) % frames), loop.Frame(f)));
        return loop.Rolled(start);
    }

    private static long Difference(ReadOnlySpan<byte> a, ReadOnlySpan<byte> b)
    {
        long sum = 0;
        for (int i = 0; i < a.Length; i++)
            sum += Math.Abs(a[i] - b[i]);
        return sum;
    }
}
