namespace Microsoft.ML.Mobius.Training;

/// <summary>What training will take in memory, in bytes, told before it is spent.</summary>
/// <remarks>
/// Reading and encoding the clips comes before and is not in it, nor are the cached clips. The parts are not all there at once: activations go as gradients come.
/// </remarks>
public sealed class MemoryEstimate
{
    private const int BytesOfValue = sizeof(float);

    /// <summary>
    /// What a value that comes and goes with the step takes of the CPU's memory, more than 1 because glibc's allocator holds memory unused between blocks that come and blocks that
    /// go; weights and moments come once and take 1. Less where the forward pass gives back what it no longer needs. Measured in all layouts, at two sizes of model.
    /// </summary>
    private const double OfKeptOnCpu = 1.18, OfKeptWhereReturnedOnCpu = 1.09;

    /// <summary>
    /// The same for what is recomputed part by part: each part is computed a first time unrecorded, whose temporaries are not counted, and its blocks do not fit the holes
    /// that the part before left between gradients; where these are forgotten at once, it is 1. Measured at two sizes of model, and with one clip and with four.
    /// </summary>
    private const double OfRecomputedOnCpu = 2;

    /// <summary>Weights for each number that Adafactor keeps, of published widths.</summary>
    private const long WeightsPerFactor = 100;

    /// <param name="frozen">Parameters that are not trained.</param>
    /// <param name="trained">Parameters that are.</param>
    /// <param name="largest">Trained parameters of the layer that has most.</param>
    /// <param name="activations">Values that the forward pass leaves.</param>
    /// <param name="step">Most values of gradients and activations, of all kinds, that a step has at once, with what the allocator holds unused for them.</param>
    /// <param name="keepsAverage">Whether an average of the trained weights is kept.</param>
    /// <param name="optimizer">What moves the weights.</param>
    /// <param name="gradients">Gradients that are there at once; null for all.</param>
    /// <param name="narrow">Of the frozen parameters those that are held in 16 bits.</param>
    internal MemoryEstimate(long frozen, long trained, long largest, long activations, long step, bool keepsAverage,
        OptimizerKind optimizer = OptimizerKind.AdamW, long? gradients = null, long narrow = 0)
    {
        FrozenWeights = frozen * BytesOfValue - narrow * BytesOfValue / 2;
        TrainedWeights = trained * BytesOfValue;
        Gradients = (gradients ?? trained) * BytesOfValue;
        OptimizerMoments = (optimizer == OptimizerKind.Adafactor ? trained / WeightsPerFactor : 2 * trained) * BytesOfValue;
        Average = keepsAverage ? trained * BytesOfValue : 0;
        Activations = activations * BytesOfValue;

        // Both optimizers make two temporaries of a parameter at a time.
        long kept = FrozenWeights + TrainedWeights + OptimizerMoments + Average;
        PeakBytes = kept + Math.Max(step * BytesOfValue, Gradients + 2 * largest * BytesOfValue);
        Workspace = Math.Max(0, PeakBytes - kept - Gradients - Activations);
    }

    /// <summary>What a value takes that a step keeps for its way back, and one of a part that is recomputed.</summary>
    internal static (double OfKept, double OfRecomputed) Takes(bool onCpu, bool returnsUnused, bool forgetsGradients)
        => onCpu ? (returnsUnused ? OfKeptWhereReturnedOnCpu : OfKeptOnCpu, forgetsGradients ? 1 : OfRecomputedOnCpu) : (1, 1);

    /// <summary>The most at once.</summary>
    public long PeakBytes { get; }

    /// <summary>Text encoder, autoencoder and the spatial half of the U-Net; where a LoRA is trained, all of the U-Net.</summary>
    public long FrozenWeights { get; }

    /// <summary>The temporal half of the U-Net, or a LoRA.</summary>
    public long TrainedWeights { get; }

    /// <summary>One for each trained weight; or, where these are moved while gradients are made, for those of the largest part of the network.</summary>
    public long Gradients { get; }

    /// <summary>Of the optimizer: AdamW's are two for each trained weight, Adafactor's about a hundredth of them.</summary>
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
