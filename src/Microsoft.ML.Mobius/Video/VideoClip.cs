using System.Globalization;

namespace Microsoft.ML.Mobius.Video;

/// <summary>A short video in memory: frames of equal size shown at a constant rate. Immutable: threads may share it.</summary>
/// <remarks>Pixels lie as [F, H, W, 3]: frame by frame, row by row from the top, each pixel as red, green, blue in 0..255 (sRGB).</remarks>
public sealed class VideoClip
{
    private readonly byte[] _pixels;

    /// <summary>Makes a clip from a copy of <paramref name="pixels"/>.</summary>
    /// <param name="pixels">RGB bytes in the order [F, H, W, 3]; exactly F·H·W·3 of them.</param>
    /// <param name="frameCount">Number of frames F, at least 1.</param>
    /// <param name="height">Height H in pixels, at least 1.</param>
    /// <param name="width">Width W in pixels, at least 1.</param>
    /// <param name="frameRate">Frames per second, positive and finite.</param>
    /// <param name="source">Name of the file the clip came from, if it came from one; the default is none.</param>
    /// <exception cref="ArgumentOutOfRangeException">A count, a size or the rate is out of its range.</exception>
    /// <exception cref="ArgumentException"><paramref name="pixels"/> has another length than F·H·W·3.</exception>
    public VideoClip(ReadOnlySpan<byte> pixels, int frameCount, int height, int width, double frameRate, string? source = null)
        : this(pixels.ToArray(), frameCount, height, width, frameRate, source)
    {
    }

    private VideoClip(byte[] pixels, int frameCount, int height, int width, double frameRate, string? source)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(frameCount, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(height, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 1);
        if (!double.IsFinite(frameRate) || frameRate <= 0)
            throw new ArgumentOutOfRangeException(nameof(frameRate), frameRate, "The frame rate must be positive and finite.");
        Int128 expected = (Int128)frameCount * height * width * 3;
        if (pixels.Length != expected)
            throw new ArgumentException(
                $"Expected {expected} bytes for {frameCount} frames of {width}x{height} RGB pixels, got {pixels.Length}.", nameof(pixels));

        _pixels = pixels;
        FrameCount = frameCount;
        Height = height;
        Width = width;
        FrameRate = frameRate;
        Source = source;
    }

    /// <summary>Makes a clip of pixels that nobody changes from now on: they are not copied.</summary>
    internal static VideoClip Owning(byte[] pixels, int frameCount, int height, int width, double frameRate, string? source = null)
        => new(pixels, frameCount, height, width, frameRate, source);

    /// <summary>All frames, [F, H, W, 3] bytes in 0..255.</summary>
    public ReadOnlyMemory<byte> Pixels => _pixels;

    /// <summary>Number of frames, at least 1.</summary>
    public int FrameCount { get; }

    /// <summary>Height of every frame in pixels.</summary>
    public int Height { get; }

    /// <summary>Width of every frame in pixels.</summary>
    public int Width { get; }

    /// <summary>Frames per second.</summary>
    public double FrameRate { get; }

    /// <summary>How long the clip plays: frames / rate.</summary>
    public TimeSpan Duration => TimeSpan.FromSeconds(FrameCount / FrameRate);

    /// <summary>Name of the file the clip was read from, or null if it was made in memory.</summary>
    public string? Source { get; }

    /// <summary>The pixels of one frame, [H, W, 3] bytes in 0..255.</summary>
    /// <param name="index">Which frame, 0..<see cref="FrameCount"/>-1.</param>
    /// <returns>A view into the clip; nothing is copied.</returns>
    /// <exception cref="ArgumentOutOfRangeException">There is no frame <paramref name="index"/>.</exception>
    public ReadOnlySpan<byte> Frame(int index)
    {
        if ((uint)index >= (uint)FrameCount)
            throw new ArgumentOutOfRangeException(nameof(index), index, $"The clip has frames 0..{FrameCount - 1}.");
        int size = Height * Width * 3;
        return _pixels.AsSpan(index * size, size);
    }

    /// <summary>Some frames in a row; where the clip ends too early it is continued.</summary>
    /// <param name="from">The first, 0..<see cref="FrameCount"/>-1.</param>
    /// <param name="count">How many, at least 1.</param>
    /// <param name="how">Loop or Hold.</param>
    internal VideoClip Window(int from, int count, ShortClip how)
    {
        if (from == 0 && count == FrameCount)
            return this;
        int had = FrameCount - from;
        return Of(count, k => from + (k < had ? k : how == ShortClip.Hold ? had - 1 : k % had));
    }

    /// <summary>The frames from one on, and then those before it.</summary>
    internal VideoClip Rolled(int from) => Of(FrameCount, k => (from + k) % FrameCount);

    /// <summary>Every so many-th frame.</summary>
    internal VideoClip Strided(int stride) => stride == 1 ? this : Of((FrameCount + stride - 1) / stride, k => k * stride);

    /// <summary>Left and right exchanged.</summary>
    internal VideoClip Mirrored()
    {
        var pixels = new byte[_pixels.Length];
        for (int row = 0; row < pixels.Length; row += Width * 3)
            for (int x = 0; x < Width; x++)
                _pixels.AsSpan(row + x * 3, 3).CopyTo(pixels.AsSpan(row + (Width - 1 - x) * 3));
        return new VideoClip(pixels, FrameCount, Height, Width, FrameRate, Source);
    }

    private VideoClip Of(int count, Func<int, int> frame)
    {
        var pixels = new byte[count * Height * Width * 3];
        for (int k = 0; k < count; k++)
            Frame(frame(k)).CopyTo(pixels.AsSpan(k * Height * Width * 3));
        return new VideoClip(pixels, count, Height, Width, FrameRate, Source);
    }

    /// <summary>The clip's size in words, for messages.</summary>
    /// <returns>For example "8 frames of 64x64 at 8 frames/s".</returns>
    public override string ToString()
        => string.Create(CultureInfo.InvariantCulture, $"{FrameCount} frames of {Width}x{Height} at {FrameRate} frames/s");
}
