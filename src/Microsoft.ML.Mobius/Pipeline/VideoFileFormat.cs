namespace Microsoft.ML.Mobius;

/// <summary>How clips are written as files.</summary>
public enum VideoFileFormat
{
    /// <summary>H.264 in an mp4 file. The default.</summary>
    Mp4,

    /// <summary>A gif that repeats for ever.</summary>
    Gif,

    /// <summary>An animated WebP, without loss, that repeats for ever.</summary>
    Webp,

    /// <summary>An animated PNG that repeats for ever.</summary>
    Png,
}
