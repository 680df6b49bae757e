using SkiaSharp;

namespace Microsoft.ML.Mobius.Video;

/// <summary>The frames of a WebP file, animated or still. The ffmpeg of today's Linux distributions cannot decode animated ones.</summary>
internal sealed class WebpFrames : IDisposable
{
    // Browsers show a frame of 10 ms or less for 100 ms, and ffmpeg does the same with GIF files.
    private const int ShortestDuration = 10, DefaultDuration = 100;

    private readonly string _path;
    private readonly SKCodec _codec;
    private readonly SKCodecFrameInfo[] _frames;

    private WebpFrames(string path, SKCodec codec)
    {
        _path = path;
        _codec = codec;
        _frames = codec.FrameInfo;
        if (_frames.Length == 0)
            _frames = [new SKCodecFrameInfo { Duration = DefaultDuration, RequiredFrame = -1 }];    // a still picture
    }

    public int Width => _codec.Info.Width;

    public int Height => _codec.Info.Height;

    public bool IsStill => _frames.Length == 1;

    public static bool IsWebp(string path)
    {
        Span<byte> head = stackalloc byte[12];
        using var file = File.OpenRead(path);
        return file.ReadAtLeast(head, head.Length, throwOnEndOfStream: false) == head.Length
            && head.StartsWith("RIFF"u8) && head.EndsWith("WEBP"u8);
    }

    /// <exception cref="InvalidDataException">The file cannot be decoded.</exception>
    public static WebpFrames Open(string path)
    {
        using var data = SKData.CreateCopy(File.ReadAllBytes(path));
        var codec = SKCodec.Create(data) ?? throw new InvalidDataException($"'{path}' is not a readable video: its WebP data is damaged.");
        if ((long)codec.Info.Width * codec.Info.Height is var size and > VideoReader.LargestFrame)
        {
            codec.Dispose();
            throw new InvalidDataException($"'{path}' is not a readable video: its frames are said to have {size} pixels.");
        }
        return new WebpFrames(path, codec);
    }

    /// <summary>
    /// Writes the frames shown at 0, 1/rate, 2/rate, ... seconds, or those numbered 0, stride, 2 stride, ... where that is above 0; at most
    /// <paramref name="count"/>, each [H, W, 4] straight RGBA.
    /// </summary>
    public void WriteTo(Stream stream, int count, double rate, int stride, CancellationToken cancellationToken)
    {
        using var canvas = new SKBitmap(new SKImageInfo(Width, Height, SKColorType.Rgba8888, SKAlphaType.Unpremul));
        int shown = -1;
        double shownUntil = 0;          // milliseconds
        for (int k = 0; k < count; k++)
        {
            double time = k * 1000 / rate;
            while (stride > 0 ? shown < k * stride : time >= shownUntil)
            {
                cancellationToken.ThrowIfCancellationRequested();
                if (++shown == _frames.Length)
                    return;
                Decode(shown, canvas);
                int duration = _frames[shown].Duration;
                shownUntil += duration <= ShortestDuration ? DefaultDuration : duration;
            }
            stream.Write(canvas.GetPixelSpan());
        }
    }

    public void Dispose() => _codec.Dispose();

    private void Decode(int frame, SKBitmap canvas)
    {
        // The canvas holds the frame before this one: exactly what a frame that needs an earlier one is drawn over, if it is not an
        // older one that is needed (then the codec goes back and draws that itself).
        int required = _frames[frame].RequiredFrame;
        if (required < 0)
            canvas.Erase(SKColors.Transparent);
        var options = new SKCodecOptions(frame, required >= 0 && required == frame - 1 ? frame - 1 : -1);
        if (_codec.GetPixels(canvas.Info, canvas.GetPixels(), options) is var result and not SKCodecResult.Success)
            throw new InvalidDataException(
                $"'{_path}' is not a readable video: frame {frame} of its WebP data cannot be decoded ({result}).");
    }
}
