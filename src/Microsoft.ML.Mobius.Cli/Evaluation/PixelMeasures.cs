using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Cli.Evaluation;

/// <summary>What can be measured of a clip's pixels alone.</summary>
/// <param name="Flicker">
/// The mean change from one frame to the next, in levels of 0 to 255, of the static pixels: those whose luma never leaves its median over time by more than a
/// tenth of the range. 0 where there is none.
/// </param>
/// <param name="StaticShare">Their share of all pixels, 0 to 1.</param>
/// <param name="Motion">
/// Pixels per frame of the fastest twentieth of the 8x8 blocks that have any texture, by block matching within 6 pixels; mean over the frames. A block that is
/// not to be found again, as at the border, counts as one that stays.
/// </param>
internal readonly record struct PixelMeasures(double Flicker, double StaticShare, double Motion)
{
    private const double LargestStatic = 25.5, FastestShare = 0.05;
    private const int Block = 8, Reach = 6;
    private const double LeastTexture = 4, LeastGain = 1;          // levels: standard deviation of a block, mean improvement by moving it

    public static PixelMeasures Of(VideoClip clip)
    {
        double[][] frames = [.. Enumerable.Range(0, clip.FrameCount).Select(k => Luma(clip.Frame(k)))];
        var (flicker, share) = Still(frames);
        double motion = frames.Length < 2 ? 0 : frames.Zip(frames.Skip(1), (from, to) => Speed(from, to, clip.Height, clip.Width)).Average();
        return new(flicker, share, motion);
    }

    // Rec. 601, as JPEG and video have it.
    private static double[] Luma(ReadOnlySpan<byte> frame)
    {
        var luma = new double[frame.Length / 3];
        for (int i = 0; i < luma.Length; i++)
            luma[i] = 0.299 * frame[3 * i] + 0.587 * frame[3 * i + 1] + 0.114 * frame[3 * i + 2];
        return luma;
    }

    private static (double Flicker, double Share) Still(double[][] frames)
    {
        double change = 0;
        int still = 0;
        var times = new double[frames.Length];
        for (int i = 0; i < frames[0].Length; i++)
        {
            for (int k = 0; k < times.Length; k++)
                times[k] = frames[k][i];
            double[] sorted = [.. times.Order()];
            double median = sorted[sorted.Length / 2];
            if (sorted[^1] - median > LargestStatic || median - sorted[0] > LargestStatic)
                continue;
            still++;
            for (int k = 1; k < times.Length; k++)
                change += Math.Abs(times[k] - times[k - 1]);
        }
        return (still == 0 || frames.Length < 2 ? 0 : change / still / (frames.Length - 1), (double)still / frames[0].Length);
    }

    private static double Speed(double[] from, double[] to, int height, int width)
    {
        var speeds = new List<double>();
        for (int y = 0; y + Block <= height; y += Block)
            for (int x = 0; x + Block <= width; x += Block)
                if (Deviation(from, x, y, width) >= LeastTexture)
                    speeds.Add(Shift(from, to, x, y, height, width));
        if (speeds.Count == 0)
            return 0;
        return speeds.OrderDescending().Take(Math.Max(1, (int)(FastestShare * speeds.Count))).Average();
    }

    private static double Deviation(double[] frame, int x, int y, int width)
    {
        double sum = 0, squares = 0;
        for (int dy = 0; dy < Block; dy++)
            for (int dx = 0; dx < Block; dx++)
            {
                double value = frame[(y + dy) * width + x + dx];
                sum += value;
                squares += value * value;
            }
        const int Count = Block * Block;
        return Math.Sqrt(Math.Max(0, squares / Count - sum / Count * (sum / Count)));
    }

    /// <summary>How far the block went to the next frame; 0 unless it differs less than half as much there.</summary>
    private static double Shift(double[] from, double[] to, int x, int y, int height, int width)
    {
        double best = Math.Min(Difference(0, 0) / 2, Difference(0, 0) - LeastGain), shift = 0;
        for (int dy = -Reach; dy <= Reach; dy++)
            for (int dx = -Reach; dx <= Reach; dx++)
            {
                if (x + dx < 0 || y + dy < 0 || x + dx + Block > width || y + dy + Block > height)
                    continue;
                double difference = Difference(dx, dy), length = Math.Sqrt(dx * dx + dy * dy);
                if (difference < best || (difference == best && length < shift))
                    (best, shift) = (difference, length);
            }
        return shift;

        double Difference(int dx, int dy)
        {
            double sum = 0;
            for (int v = 0; v < Block; v++)
                for (int u = 0; u < Block; u++)
                    sum += Math.Abs(from[(y + v) * width + x + u] - to[(y + dy + v) * width + x + dx + u]);
            return sum / (Block * Block);
        }
    }
}
