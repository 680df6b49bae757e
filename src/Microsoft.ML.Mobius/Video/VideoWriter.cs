using System.Globalization;
using FFMpegCore;
using Microsoft.ML.Mobius.Files;
using SkiaSharp;

namespace Microsoft.ML.Mobius.Video;

/// <summary>Writes clips as files of mp4 (H.264), gif, animated WebP or animated PNG, as the extension of the path says, or as a folder of PNG files.</summary>
/// <remarks>Needs ffmpeg, as <see cref="VideoReader"/> does. The same clip gives the same bytes. May be used from several threads.</remarks>
public static class VideoWriter
{
    // Tagged as what it is, or players guess the matrix from the size. Quality 12: 64x64 pixels have no colour to spare.
    private const string Mp4 =
        "-vf scale=flags=bicubic+accurate_rnd+full_chroma_inp+full_chroma_int:out_color_matrix=smpte170m:out_range=tv,format=yuv420p " +
        "-c:v libx264 -preset slow -crf 12 -threads 1 " +
        "-colorspace smpte170m -color_range tv -color_primaries bt709 -color_trc iec61966-2-1 " +
        "-movflags +faststart -flags:v +bitexact -fflags +bitexact -f mp4";

    // A gif's clock ticks every 1/100 s. Every frame starts at the last tick not after its time, so that a reader that looks at
    // k / rate seconds finds frame k.
    private const string Gif =
        "-filter_complex \"settb=1/100,setpts='floor(N*100/{rate}+1e-6)',split[a][b];" +
        "[a]palettegen=reserve_transparent=0:stats_mode=single[p];[b][p]paletteuse=dither=sierra2_4a:new=1\" " +
        "-fps_mode passthrough -enc_time_base 1/100 -threads 1 -loop 0 -flags:v +bitexact -fflags +bitexact -f gif";

    // As a gif's, the times are whole ticks of the clock, here of 1/1000 s, never after the frame's own time.
    private const string Webp =
        "-vf \"settb=1/1000,setpts='floor(N*1000/{rate}+1e-6)'\" -fps_mode passthrough -enc_time_base 1/1000 " +
        "-c:v libwebp_anim -pix_fmt bgra -lossless 1 -compression_level 6 -threads 1 -loop 0 -flags:v +bitexact -fflags +bitexact -f webp";

    private const string Png = "-c:v apng -pix_fmt rgb24 -pred mixed -threads 1 -plays 0 -flags:v +bitexact -fflags +bitexact -f apng";

    // A frame shown any shorter is shown longer by viewers: gifs from 10 ms on, animated WebP where it is 10 ms or less.
    private const double FastestGif = 50, FastestWebp = 90;

    /// <summary>Writes a clip to a file, replacing the file if there is one. The folder is made if it is missing.</summary>
    /// <remarks>
    /// .mp4: H.264, 4:2:0, playable while it downloads. Such a file must have even sides: an odd side grows by one pixel that repeats the
    /// edge. 4:2:0 also stores one colour for four pixels; with an <paramref name="upscale"/> of 2 every pixel of the clip keeps its own.
    /// .gif: 256 colours chosen for each frame, repeated for ever; its clock ticks every 1/100 s, so 8 frames/s become delays of
    /// 12 and 13 ticks in turn, and more than 50 frames/s are refused.
    /// .webp and .png: animated, repeated for ever, every pixel as it is; the clock of WebP ticks every 1/1000 s, and more than 90 frames/s
    /// are refused.
    /// The file is written under another name in the same folder and then renamed: a failure leaves nothing.
    /// </remarks>
    /// <param name="path">The file; ends in .mp4, .gif, .webp or .png.</param>
    /// <param name="clip">What to write.</param>
    /// <param name="upscale">Every pixel becomes a square of this many, 1..64; the default is 1.</param>
    /// <param name="cancellationToken">Stops writing, ends ffmpeg and removes what was written.</param>
    /// <exception cref="ArgumentException">The extension is another one, the upscale is out of its range, or the clip is too fast for the format.</exception>
    /// <exception cref="IOException">The folder or the file cannot be written, or the disk is full.</exception>
    /// <exception cref="InvalidOperationException">There is no ffmpeg.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public static void Write(string path, VideoClip clip, int upscale = 1, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(path);
        ArgumentNullException.ThrowIfNull(clip);
        if (upscale is < 1 or > 64)
            throw new ArgumentOutOfRangeException(nameof(upscale), upscale, "Expected 1..64.");
        var (encoder, multiple, fastest) = Path.GetExtension(path).ToLowerInvariant() switch
        {
            ".mp4" => (Mp4, 2, double.PositiveInfinity),
            ".gif" => (Gif, 1, FastestGif),
            ".webp" => (Webp, 1, FastestWebp),
            ".png" => (Png, 1, double.PositiveInfinity),
            var other => throw new ArgumentException($"'{path}' ends in '{other}': videos are written as .mp4, .gif, .webp or .png.", nameof(path)),
        };
        if (clip.FrameRate > fastest)
            throw new ArgumentException(FormattableString.Invariant(
                $"A {Path.GetExtension(path)} file shows at most {fastest} frames/s; the clip for '{path}' has {clip.FrameRate}."), nameof(clip));

        int width = RoundUp(clip.Width * upscale, multiple), height = RoundUp(clip.Height * upscale, multiple);
        string rate = clip.FrameRate.ToString(CultureInfo.InvariantCulture);
        string encoding = encoder.Replace("{rate}", rate, StringComparison.Ordinal);
        FileAside.Write(path, aside =>
        {
            var command = FFMpegArguments
                .FromUrlInput("pipe:0", input => input.WithCustomArgument(
                    $"-f rawvideo -pixel_format rgb24 -video_size {width}x{height} -framerate {rate}"))
                .OutputToFile(Ffmpeg.Quotable(aside), overwrite: true, output => output.WithCustomArgument(encoding));
            var (succeeded, complaint) = Ffmpeg.Run(
                command, stream => Feed(stream, clip, upscale, width, height), output: null, cancellationToken);
            if (!succeeded || complaint.Length > 0)     // a full disk is a complaint that ffmpeg 5.1 ends well on
                throw new IOException(complaint);
        });
    }

    /// <summary>Writes the frames of a clip as 000.png, 001.png, ... into a folder of their own, without ffmpeg.</summary>
    /// <remarks>It is written under another name and then renamed: a failure leaves what was there.</remarks>
    /// <param name="folder">Made if it is missing; replaced if it holds nothing but such frames.</param>
    /// <param name="clip">What to write.</param>
    /// <param name="upscale">Every pixel becomes a square of this many, 1..64; the default is 1.</param>
    /// <exception cref="ArgumentException">The upscale is out of its range.</exception>
    /// <exception cref="IOException">The folder holds anything else, or cannot be written, or the disk is full.</exception>
    public static void WriteFrames(string folder, VideoClip clip, int upscale = 1)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(folder);
        ArgumentNullException.ThrowIfNull(clip);
        if (upscale is < 1 or > 64)
            throw new ArgumentOutOfRangeException(nameof(upscale), upscale, "Expected 1..64.");
        FolderAside.Write(folder, CheckFrames, aside =>
        {
            int width = clip.Width * upscale, height = clip.Height * upscale;
            using var bitmap = new SKBitmap(new SKImageInfo(width, height, SKColorType.Rgba8888, SKAlphaType.Opaque));
            var pixels = new SKColor[width * height];
            for (int k = 0; k < clip.FrameCount; k++)
            {
                var frame = clip.Frame(k);
                for (int i = 0; i < pixels.Length; i++)
                {
                    int at = (i / width / upscale * clip.Width + i % width / upscale) * 3;
                    pixels[i] = new SKColor(frame[at], frame[at + 1], frame[at + 2]);
                }
                bitmap.Pixels = pixels;
                using var png = bitmap.Encode(SKEncodedImageFormat.Png, quality: 100);
                using var file = File.Create(Path.Combine(aside, FormattableString.Invariant($"{k:D3}.png")));
                png.SaveTo(file);
            }
        });
    }

    private static void CheckFrames(string folder)
    {
        if (Directory.EnumerateFileSystemEntries(folder).FirstOrDefault(path => Path.GetExtension(path) != ".png"
                || !int.TryParse(Path.GetFileNameWithoutExtension(path), NumberStyles.None, CultureInfo.InvariantCulture, out _)) is { } other)
            throw new IOException($"The folder '{folder}' is not one of frames, for it has '{Path.GetFileName(other)}': it is left as it is.");
    }

    private static int RoundUp(int pixels, int multiple) => (pixels + multiple - 1) / multiple * multiple;

    /// <summary>Writes the frames enlarged, their right and lower edges repeated up to the size asked for.</summary>
    private static void Feed(Stream stream, VideoClip clip, int upscale, int width, int height)
    {
        var line = new byte[width * 3];
        for (int k = 0; k < clip.FrameCount; k++)
        {
            var frame = clip.Frame(k);
            for (int y = 0; y < height; y++)
            {
                int row = Math.Min(y / upscale, clip.Height - 1) * clip.Width;
                for (int x = 0; x < width; x++)
                    frame.Slice((row + Math.Min(x / upscale, clip.Width - 1)) * 3, 3).CopyTo(line.AsSpan(x * 3));
                stream.Write(line);
            }
        }
    }
}
