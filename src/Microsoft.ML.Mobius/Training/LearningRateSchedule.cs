namespace Microsoft.ML.Mobius.Training;

/// <summary>
/// How the learning rate goes over a training run of N steps. All but <see cref="OneCycle"/> are multiplied by a linear warm-up.
/// </summary>
public enum LearningRateSchedule
{
    /// <summary>A half cosine from the highest rate at step 1 to nothing after step N (Loshchilov and Hutter 2017, arXiv 1608.03983).</summary>
    Cosine,

    /// <summary>The highest rate throughout. A run with it, and it alone, may be resumed with another number of steps.</summary>
    Constant,

    /// <summary>A straight line from the highest rate at step 1 to nothing after step N.</summary>
    Linear,

    /// <summary>The square of <see cref="Linear"/>: it falls fast first and slowly in the end.</summary>
    Polynomial,

    /// <summary>
    /// Up from 1/25 of the highest rate in a half cosine in the first 30% of the steps, then down to 1/250000 of it in another (Smith and Topin 2018,
    /// arXiv 1708.07120). It has its own warm-up: the number of warm-up steps is of no effect.
    /// </summary>
    OneCycle,
}
