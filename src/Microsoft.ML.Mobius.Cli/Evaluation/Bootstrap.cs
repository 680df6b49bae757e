namespace Microsoft.ML.Mobius.Cli.Evaluation;

/// <summary>A mean and the interval in which 95 % of the means lie that other clips of the same kind would give.</summary>
internal readonly record struct Interval(double Mean, double Low, double High);

/// <summary>Intervals by resampling (Efron 1979): the percentiles of the mean over clips drawn with replacement.</summary>
internal static class Bootstrap
{
    private const int Resamples = 2000;
    private const double Tail = 0.025;

    /// <param name="values">One per clip, at least one.</param>
    /// <param name="seed">The same seed draws the same clips: intervals of a difference are those of pairs.</param>
    public static Interval Of(IReadOnlyList<double> values, int seed = 0)
    {
        var random = new Random(seed);
        var means = new double[Resamples];
        for (int i = 0; i < Resamples; i++)
        {
            double sum = 0;
            for (int k = 0; k < values.Count; k++)
                sum += values[random.Next(values.Count)];
            means[i] = sum / values.Count;
        }
        Array.Sort(means);
        return new(values.Average(), means[(int)(Tail * Resamples)], means[(int)((1 - Tail) * Resamples) - 1]);
    }
}
