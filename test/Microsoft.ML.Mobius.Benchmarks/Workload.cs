namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>What a process of its own is to measure.</summary>
internal enum Activity
{
    /// <summary>Training steps.</summary>
    Training,

    /// <summary>Generated videos.</summary>
    Sampling,

    /// <summary>Steps as another implementation was measured with: see <see cref="ReferenceBench"/>.</summary>
    Reference,
}

/// <summary>One measurement, made in a process of its own.</summary>
/// <param name="Activity">What is measured.</param>
/// <param name="Arm">Name of the arm, of the <see cref="Way"/> to generate, or of the case of <see cref="ReferenceBench"/>.</param>
/// <param name="Size">The model.</param>
/// <param name="Count">Steps, or videos, that are measured, after one more that is not.</param>
/// <param name="Frames">Per clip.</param>
/// <param name="Batch">Clips per step.</param>
/// <param name="Side">Height and width of the latents.</param>
/// <param name="WidthDivisor">How many times narrower than the spatial ones temporal layers are: the temporal stream itself, or in Serial the layers inside; 0 for the arm's own.</param>
/// <param name="OnGpu">Whether GPU 0 computes; memory is then what its driver says is in use on it in the end, by whomever.</param>
internal sealed record Workload(
    Activity Activity, string Arm, ModelSize Size, int Count, int Frames = 8, int Batch = 1, int Side = 32, int WidthDivisor = 0, bool OnGpu = false);

/// <summary>What came out.</summary>
/// <param name="CpuSeconds">Processor time of each step, or video, over all threads.</param>
/// <param name="WallSeconds">Time that each took.</param>
/// <param name="PeakBytes">Most resident memory, beyond that before the model was made.</param>
/// <param name="EstimatedBytes">What the trainer said that training would take, or the transformer that generating would.</param>
/// <param name="Parameters">Of the U-Net.</param>
/// <param name="Trained">Of these.</param>
/// <param name="Threads">That torch computed with.</param>
internal sealed record Measurement(
    IReadOnlyList<double> CpuSeconds, IReadOnlyList<double> WallSeconds, long PeakBytes, long EstimatedBytes, long Parameters, long Trained, int Threads);
