namespace Microsoft.ML.Mobius.Training;

/// <summary>The numbers that the frozen spatial stream is held and computed in while training.</summary>
public enum SpatialPrecision
{
    /// <summary>32 bits, as all else.</summary>
    Float32,

    /// <summary>16 bits, of which 8 are of the mantissa: the range of float32, so that nothing overflows that does not there.</summary>
    BFloat16,

    /// <summary>16 bits, of which 11 are of the mantissa: eight times as exact as BFloat16, but what comes beyond 65504 overflows. For a GPU alone.</summary>
    Float16,
}
