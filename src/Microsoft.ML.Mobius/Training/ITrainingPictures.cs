namespace Microsoft.ML.Mobius.Training;

/// <summary>What shows how a run goes: it may use the model, but moves nothing of it and draws from no generator of the run.</summary>
internal interface ITrainingPictures
{
    /// <summary>Called before the first step.</summary>
    /// <param name="data">All clips.</param>
    /// <param name="clips">Those of the first batch, of one shape.</param>
    void ShowFirstBatch(TrainingData data, IReadOnlyList<int> clips);

    /// <summary>Whether samples are to be made after a step.</summary>
    bool IsDue(int step);

    /// <summary>Makes samples; the model is what would be the result now.</summary>
    /// <returns>A PNG picture of them all.</returns>
    /// <exception cref="IOException">They cannot be written.</exception>
    /// <exception cref="InvalidDataException">They are not finite.</exception>
    byte[] Sample(int step);
}
