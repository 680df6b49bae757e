namespace Microsoft.ML.Mobius.Training;

/// <summary>What training will take in memory, in bytes, told before it is spent.</summary>
/// <remarks>
/// Reading and encoding the clips comes before and is not in it, nor are the cached clips. The parts are not all there at once: activations go as gradients come.
/// </remarks>
public sealed class MemoryEstimate
{
    private const int BytesOfValue = sizeof(float);

    /// <summary>What glibc's allocator holds beyond what is in use, in fifths of that: it was 0.19 to 0.21 of it in all layouts.</summary>
    private const long UnusedOfAllocator = 5;

    /// <summary>What it holds besides where layers are recomputed, at two sizes of model.</summary>
    private const long UnusedWhileRecomputing = 200 << 20;

    /// <param name="frozen">Parameters that are not trained.</param>
    /// <param name="trained">Parameters that are.</param>
    /// <param name="largest">Trained parameters of the layer that has most.</param>
    /// <param name="activations">Values that the forward pass leaves.</param>
    /// <param name="step">Most values of gradients and activations, of all kinds, that a step has at once.</param>
    /// <param name="recomputes">Whether activations are recomputed.</param>
    /// <param name="keepsAverage">Whether an average of the trained weights is kept.</param>
    /// <param name="onCpu">Whether it is the CPU's memory.</param>
    internal MemoryEstimate(long frozen, long trained, long largest, long activations, long step, bool recomputes, bool keepsAverage, bool onCpu)
    {
        FrozenWeights = frozen * BytesOfValue;
        TrainedWeights = trained * BytesOfValue;
        Gradients = trained * BytesOfValue;
        OptimizerMoments = 2 * trained * BytesOfValue;
        Average = keepsAverage ? trained * BytesOfValue : 0;
        Activations = activations * BytesOfValue;

        // AdamW makes two temporaries of a parameter at a time.
        long kept = FrozenWeights + TrainedWeights + OptimizerMoments + Average, passing = Math.Max(step * BytesOfValue, Gradients + 2 * largest * BytesOfValue);
        long used = kept + passing;
        PeakBytes = used + (onCpu ? used / UnusedOfAllocator + (recomputes ? UnusedWhileRecomputing : 0) : 0);
        Workspace = Math.Max(0, PeakBytes - kept - Gradients - Activations);
    }

    /// <summary>The most at once.</summary>
    public long PeakBytes { get; }

    /// <summary>Text encoder, autoencoder and the spatial half of the U-Net; where a LoRA is trained, all of the U-Net.</summary>
    public long FrozenWeights { get; }

    /// <summary>The temporal half of the U-Net, or a LoRA.</summary>
    public long TrainedWeights { get; }

    /// <summary>One for each trained weight.</summary>
    public long Gradients { get; }

    /// <summary>AdamW's, two for each trained weight.</summary>
    public long OptimizerMoments { get; }

    /// <summary>The moving average of the trained weights, where one is kept.</summary>
    public long Average { get; }

    /// <summary>Results of the forward pass that stay for the backward pass.</summary>
    public long Activations { get; }

    /// <summary>What the peak has beyond the other parts: passing results, and memory that the allocator holds unused.</summary>
    public long Workspace { get; }

    /// <summary>The peak and its parts in MiB.</summary>
    public override string ToString()
    {
        static string Part(string name, long bytes) => FormattableString.Invariant($"{name} {bytes >> 20:N0}");

        var parts = new List<string>
        {
            Part("frozen weights", FrozenWeights), Part("trained weights", TrainedWeights), Part("gradients", Gradients), Part("moments", OptimizerMoments),
            Part("activations", Activations), Part("workspace", Workspace),
        };
        if (Average > 0)
            parts.Insert(4, Part("average", Average));
        return $"{Part("about", PeakBytes)} MiB at the peak ({string.Join(", ", parts)})";
    }
}
