namespace Microsoft.ML.Mobius.Training;

/// <summary>What moves the trained weights by their gradients.</summary>
public enum OptimizerKind
{
    /// <summary>AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101): two moments of every weight are kept, which take twice the memory of the weights.</summary>
    AdamW,

    /// <summary>
    /// Adafactor (Shazeer and Stern 2018, arXiv 1804.04235): of the second moments of a matrix or a kernel the means of rows and columns alone are kept, about a
    /// hundredth of the weights, and no first moment. What a step moves in each tensor is limited by itself, to a root mean square of the learning rate.
    /// </summary>
    Adafactor,
}
