using Microsoft.ML.Mobius.Cli.Evaluation;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Tests.Cli.Evaluation;

[TestClass]
public sealed class EvaluationTests
{
    private static readonly byte[] s_grain = Grain();

    [TestMethod]
    public void Interval_OfManyNormalDraws_IsThatOfTheirMean()
    {
        var random = new Random(1);
        double[] values = [.. Enumerable.Range(0, 400).Select(_ => Normal(random))];
        var (mean, low, high) = Bootstrap.Of(values);
        Assert.AreEqual(values.Average(), mean);
        double expected = 1.96 / Math.Sqrt(400);
        Assert.AreEqual(expected, mean - low, 0.2 * expected);
        Assert.AreEqual(expected, high - mean, 0.2 * expected);
        Assert.AreEqual(new Interval(3, 3, 3), Bootstrap.Of([3, 3]));
    }

    [TestMethod]
    public void PixelMeasures_PatternThatMoves_TellsItsSpeed()
    {
        var measures = PixelMeasures.Of(Clip((x, y, k) => Grain(x - 3 * k, y + 2 * k)));
        Assert.AreEqual(Math.Sqrt(13), measures.Motion, 1e-9);
        Assert.AreEqual(0, PixelMeasures.Of(Clip((x, y, _) => Grain(x, y))).Motion);
        Assert.AreEqual(0, PixelMeasures.Of(Clip((_, _, k) => 10 * k)).Motion, "nothing has any texture");
    }

    [TestMethod]
    public void PixelMeasures_HalfThatFlickers_TellsHowMuchOfTheStaticPixels()
    {
        var steady = PixelMeasures.Of(Clip((x, y, _) => Texture(x, y)));
        Assert.AreEqual((0.0, 1.0), (steady.Flicker, steady.StaticShare));
        var flickering = PixelMeasures.Of(Clip((x, _, k) => x < 16 ? 100 + 6 * (k % 2) : 100));
        Assert.AreEqual(3, flickering.Flicker, 1e-9);
        Assert.AreEqual(1, flickering.StaticShare);
        var moving = PixelMeasures.Of(Clip((x, _, k) => x < 16 ? 60 * k : 100));
        Assert.AreEqual((0.0, 0.5), (moving.Flicker, moving.StaticShare));
    }

    [TestMethod]
    public void Distance_OfGaussians_IsTheFormula()
    {
        // In each of two independent directions the mean is a and the variance 4/3 a²: Fréchet's distance is (1 + 4/3) (a - b)² there.
        double[][] Rows(double a) => [[0, 0], [2 * a, 0], [0, 2 * a], [2 * a, 2 * a]];
        const double Variance = 4.0 / 3;
        Assert.AreEqual(2 * (1 + Variance), RandomFeatures.Distance(Rows(2), Rows(1)), 1e-9);
        Assert.AreEqual(0, RandomFeatures.Distance(Rows(2), Rows(2)), 1e-9);
    }

    [TestMethod]
    public void RandomFeatures_ClipsThatMoveOrDoNot_AreTellableAndAlwaysTheSame()
    {
        using var features = new RandomFeatures();
        using var again = new RandomFeatures();
        VideoClip[] still = [.. Enumerable.Range(0, 12).Select(i => Clip((x, y, _) => Texture(x + i, y)))], moving =
            [.. Enumerable.Range(0, 12).Select(i => Clip((x, y, k) => Texture(x + i + 3 * k, y)))];
        double[][] first = features.Of(still);
        CollectionAssert.AreEqual(first[3], again.Of(still)[3]);
        double floor = RandomFeatures.Distance(first[..6], first[6..]), apart = RandomFeatures.Distance(first[..6], features.Of(moving)[..6]);
        Assert.IsGreaterThan(2 * floor, apart);
    }

    private static VideoClip Clip(Func<int, int, int, int> grey, int frames = 4, int side = 32)
    {
        var pixels = new byte[frames * side * side * 3];
        for (int k = 0, i = 0; k < frames; k++)
            for (int y = 0; y < side; y++)
                for (int x = 0; x < side; x++, i += 3)
                    pixels.AsSpan(i, 3).Fill((byte)grey(x, y, k));
        return new VideoClip(pixels, frames, side, side, 8);
    }

    // No two blocks are alike.
    private static int Grain(int x, int y) => s_grain[(x + 64) * 128 + y + 64];

    private static int Texture(int x, int y) => (int)(128 + 60 * Math.Sin(0.9 * x + 0.05 * x * x) + 60 * Math.Cos(0.7 * y + 0.04 * y * y + 0.3 * x));

    private static byte[] Grain()
    {
        var grain = new byte[128 * 128];
        new Random(3).NextBytes(grain);
        return grain;
    }

    private static double Normal(Random random) => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
}
