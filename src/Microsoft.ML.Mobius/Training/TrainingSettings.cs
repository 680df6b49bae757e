namespace Microsoft.ML.Mobius.Training;

/// <summary>How a model is trained; each option is described at <c>TextToVideoTrainer.Options</c>.</summary>
internal sealed record TrainingSettings
{
    public required int Steps { get; init; }
    public int BatchSize { get; init; } = 8;
    public double LearningRate { get; init; } = 1e-3;
    public double WeightDecay { get; init; } = 1e-2;
    public int WarmupSteps { get; init; } = 50;
    public LossWeighting LossWeighting { get; init; }
    public double CaptionDropout { get; init; } = 0.1;
    public double MaxGradientNorm { get; init; } = 1;
    public double HeldOutFraction { get; init; } = 0.1;
    public int EvaluateEvery { get; init; } = 100;
    public long Seed { get; init; }

    /// <summary>Linear warm-up, then a half cosine down to nothing at the last step.</summary>
    /// <param name="step">1 to <see cref="Steps"/>.</param>
    public double LearningRateAt(int step)
        => LearningRate * Math.Min(1, (double)step / Math.Max(1, WarmupSteps)) * 0.5 * (1 + Math.Cos(Math.PI * (step - 1) / Steps));
}
