using Microsoft.ML.Data;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius;

/// <summary>Marks a <see cref="VideoClip"/> property or field of a row class as a video column.</summary>
/// <example>
/// <code>
/// class Row
/// {
///     public string Caption { get; set; } = "";
///     [VideoType] public VideoClip? Video { get; set; }
/// }
/// </code>
/// </example>
public sealed class VideoTypeAttribute : DataViewTypeAttribute
{
    /// <summary>A column of clips of any length and size.</summary>
    public VideoTypeAttribute()
    {
    }

    /// <summary>A column of clips that are all alike.</summary>
    /// <param name="frameCount">Frames per clip, at least 1.</param>
    /// <param name="height">Height in pixels, at least 1.</param>
    /// <param name="width">Width in pixels, at least 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">One of them is below 1.</exception>
    public VideoTypeAttribute(int frameCount, int height, int width)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(frameCount, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(height, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 1);
        FrameCount = frameCount;
        Height = height;
        Width = width;
    }

    /// <summary>Frames per clip; 0 if that is not fixed.</summary>
    public int FrameCount { get; }

    /// <summary>Height in pixels; 0 if that is not fixed.</summary>
    public int Height { get; }

    /// <summary>Width in pixels; 0 if that is not fixed.</summary>
    public int Width { get; }

    /// <summary>Attributes of the same length and size are equal.</summary>
    /// <param name="other">The attribute to compare with.</param>
    /// <returns>Whether they are equal.</returns>
    public override bool Equals(DataViewTypeAttribute? other)
        => other is VideoTypeAttribute video && (video.FrameCount, video.Height, video.Width) == (FrameCount, Height, Width);

    /// <inheritdoc/>
    public override bool Equals(object? other) => other is DataViewTypeAttribute attribute && Equals(attribute);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(FrameCount, Height, Width);

    /// <summary>Tells ML.NET that a member marked so is a video column.</summary>
    public override void Register()
        => DataViewTypeManager.Register(FrameCount == 0 ? new VideoDataViewType() : new(FrameCount, Height, Width),
            typeof(VideoClip), this);
}
