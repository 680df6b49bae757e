namespace Microsoft.ML.Mobius.Training;

/// <summary>What to do with a training step whose loss or gradient is infinite or not a number.</summary>
public enum NonFiniteStep
{
    /// <summary>Training ends with an error that names the step and its clips.</summary>
    Stop,

    /// <summary>
    /// The step moves no weight, and a warning names it and its clips; it has no loss in the history. After ten in a row training ends as with <see cref="Stop"/>.
    /// </summary>
    Skip,
}
