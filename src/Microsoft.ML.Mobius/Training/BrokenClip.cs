namespace Microsoft.ML.Mobius.Training;

/// <summary>What to do with a clip that is missing, cannot be read, or takes too long to be read.</summary>
public enum BrokenClip
{
    /// <summary>Fitting ends with an error that names the row and the file. The default.</summary>
    Stop,

    /// <summary>A warning names the row and the file, and training does without it; in the end they are counted.</summary>
    Skip,
}
