using System.Globalization;
using Microsoft.ML.Data;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius;

/// <summary>The type of a column of <see cref="VideoClip"/> values, with or without a fixed length and size.</summary>
public sealed class VideoDataViewType : StructuredDataViewType
{
    /// <summary>The type of clips of any length and size.</summary>
    public VideoDataViewType()
        : base(typeof(VideoClip))
        => DataViewTypeManager.Register(this, typeof(VideoClip), new VideoTypeAttribute());

    /// <summary>The type of clips that are all alike.</summary>
    /// <param name="frameCount">Frames per clip, at least 1.</param>
    /// <param name="height">Height in pixels, at least 1.</param>
    /// <param name="width">Width in pixels, at least 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">One of them is below 1.</exception>
    public VideoDataViewType(int frameCount, int height, int width)
        : base(typeof(VideoClip))
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(frameCount, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(height, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 1);
        FrameCount = frameCount;
        Height = height;
        Width = width;
        // ML.NET binds a column to a class member only if the column's type is registered, with whatever attribute.
        DataViewTypeManager.Register(this, typeof(VideoClip), new VideoTypeAttribute(frameCount, height, width));
    }

    /// <summary>Frames per clip; 0 if that is not fixed.</summary>
    public int FrameCount { get; }

    /// <summary>Height in pixels; 0 if that is not fixed.</summary>
    public int Height { get; }

    /// <summary>Width in pixels; 0 if that is not fixed.</summary>
    public int Width { get; }

    /// <summary>Types of the same length and size are equal.</summary>
    /// <param name="other">The type to compare with.</param>
    /// <returns>Whether they are equal.</returns>
    public override bool Equals(DataViewType? other)
        => other is VideoDataViewType video && (video.FrameCount, video.Height, video.Width) == (FrameCount, Height, Width);

    /// <inheritdoc/>
    public override bool Equals(object? other) => other is DataViewType type && Equals(type);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(typeof(VideoDataViewType), FrameCount, Height, Width);

    /// <inheritdoc/>
    public override string ToString()
        => FrameCount == 0 ? "Video" : string.Create(CultureInfo.InvariantCulture, $"Video<{FrameCount}, {Height}, {Width}>");
}
