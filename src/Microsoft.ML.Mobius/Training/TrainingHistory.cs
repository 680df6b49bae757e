namespace Microsoft.ML.Mobius.Training;

/// <summary>Where a training run stands.</summary>
/// <param name="Step">Steps done, from 1.</param>
/// <param name="Steps">Steps to do in all.</param>
/// <param name="Loss">Mean squared error of the predicted noise in this step's batch or batches.</param>
/// <param name="LearningRate">The rate this step was made with.</param>
/// <param name="StepsPerSecond">Steps per second so far, since the run was begun or resumed, without measuring and saving.</param>
/// <param name="Remaining">Estimated time to the last step.</param>
/// <param name="PeakMemoryBytes">The most memory this process has had resident.</param>
public sealed record TrainingProgress(
    int Step, int Steps, double Loss, double LearningRate, double StepsPerSecond, TimeSpan Remaining, long PeakMemoryBytes);

/// <summary>A mean squared error of the predicted noise.</summary>
/// <param name="Step">Steps done when it was measured.</param>
/// <param name="Loss">The error; predicting nothing gives 1.</param>
public sealed record LossPoint(int Step, double Loss);

/// <summary>What a training run measured.</summary>
/// <param name="Losses">The loss of the batch or batches of every step that was made: noisy, for each has other clips, times and noise.</param>
/// <param name="HeldOut">
/// The loss on clips never trained on, always under the same times and noise; the first is that of the untrained start. Empty if no clip was held out.
/// </param>
/// <param name="Seconds">Wall-clock time of the steps and measurements; of a resumed run, of all its parts.</param>
/// <param name="PeakMemoryBytes">The most memory the process has had resident.</param>
public sealed record TrainingHistory(IReadOnlyList<LossPoint> Losses, IReadOnlyList<LossPoint> HeldOut, double Seconds, long PeakMemoryBytes)
{
    /// <summary>
    /// The same by noise: the losses at the middle of each quarter of the noise schedule, from the one with the least noise on. Empty if no clip was held
    /// out, or the model was saved by an older version.
    /// </summary>
    public IReadOnlyList<IReadOnlyList<LossPoint>> HeldOutByTime { get; init; } = [];

    /// <summary>That of a model that was not trained.</summary>
    public static TrainingHistory Empty { get; } = new([], [], 0, 0);
}
