namespace Microsoft.ML.Mobius.Training;

/// <summary>What training moves.</summary>
public enum TrainedPart
{
    /// <summary>All weights of the temporal half.</summary>
    Temporal,

    /// <summary>
    /// A LoRA (Hu et al. 2021, arXiv 2106.09685) on every linear layer of the temporal attentions, whose own weights stay as they are: for a temporal half that has
    /// learnt before. Temporal convolutions have no LoRA.
    /// </summary>
    TemporalLora,

    /// <summary>
    /// A LoRA on q, k, v and out of the spatial attentions, with frames as images and the temporal layers passed by: a stage before the training of the temporal half
    /// that fits the image model to the look of the clips, so that the temporal half need not learn it (the domain adapter of AnimateDiff, Guo et al. 2023, arXiv 2307.04725).
    /// Of every clip of a batch one frame, drawn anew each time, is learnt.
    /// </summary>
    SpatialLora,
}
