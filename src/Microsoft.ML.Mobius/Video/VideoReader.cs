using System.Globalization;
using System.Text;
using FFMpegCore;

namespace Microsoft.ML.Mobius.Video;

/// <summary>Reads mp4, mov, webm, gif, animated PNG and animated WebP files (and what else the installed ffmpeg knows).</summary>
/// <remarks>
/// Needs ffmpeg, 5.1 or later, on the PATH or in the folder that FFMpegCore's GlobalFFOptions names; one short process per file, no
/// temporary files. May be used from several threads at once.
/// </remarks>
public static class VideoReader
{
    /// <summary>Of a file's frame, in pixels. A damaged file may say any size, and ffmpeg would ask for the memory.</summary>
    internal const int LargestFrame = 8192 * 8192;

    private static readonly byte[] s_png = [0x89, (byte)'P', (byte)'N', (byte)'G'], s_jpeg = [0xFF, 0xD8, 0xFF];

    /// <summary>Reads the beginning of a file as a clip of fixed length and size.</summary>
    /// <remarks>
    /// Frames are chosen by time (frame k is the one shown k / FrameRate seconds after the first), turned as the file's rotation asks,
    /// laid over white where they are transparent, scaled (bicubic) until the smaller side fits, and cropped around the centre.
    /// A file that is too short is continued as <see cref="VideoReadOptions.ShortClip"/> says.
    /// </remarks>
    /// <param name="path">The file.</param>
    /// <param name="options">Length, size and rate of the clip; null means the defaults.</param>
    /// <param name="cancellationToken">Stops reading and ends ffmpeg.</param>
    /// <returns>A clip of exactly FrameCount frames of Width x Height at FrameRate, whose Source is <paramref name="path"/>.</returns>
    /// <exception cref="ArgumentException">An option is out of its range, or the path is empty.</exception>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is not a video, is damaged or has no frame, or is refused as too short.</exception>
    /// <exception cref="InvalidOperationException">There is no ffmpeg.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public static VideoClip Read(string path, VideoReadOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(path);
        options ??= new VideoReadOptions();
        options.Validate();
        var clip = ReadFrames(path, new FrameReading(options.FrameCount, options.Height, options.Width, options.FrameRate), cancellationToken);
        if (clip.FrameCount < options.FrameCount && options.ShortClip == ShortClip.Refuse)
            throw new InvalidDataException(string.Create(CultureInfo.InvariantCulture,
                $"'{path}' is too short: {options.FrameCount} frames were asked for, but at {options.FrameRate} frames/s it has {clip.FrameCount}."));
        return clip.Window(0, options.FrameCount, options.ShortClip);
    }

    /// <summary>Reads frames until there are enough or the file ends.</summary>
    /// <returns>A clip of at least one frame; a still picture has one.</returns>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is not a video, is damaged or has no frame.</exception>
    /// <exception cref="InvalidOperationException">There is no ffmpeg.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    internal static VideoClip ReadFrames(string path, FrameReading reading, CancellationToken cancellationToken)
    {
        CheckThere(path);
        using var webp = WebpFrames.IsWebp(path) ? WebpFrames.Open(path) : null;
        var command = webp is null ? Plain(path, reading) : Webp(webp, reading);
        Action<Stream>? feed = webp is null ? null : input => webp.WriteTo(input, reading.Most, reading.Rate, reading.Stride, cancellationToken);
        using var frames = new MemoryStream();
        var (succeeded, complaint) = Ffmpeg.Run(command, feed, frames, cancellationToken);

        int frameSize = reading.Width * reading.Height * 4;
        int had = (int)(frames.Length / frameSize);
        bool damaged = had < reading.Most && complaint.Length > 0;
        if (!succeeded || damaged || frames.Length % frameSize != 0)
            throw new InvalidDataException(
                $"'{path}' is not a readable video: {(complaint.Length > 0 ? complaint : "it ends within a frame")}");
        if (had == 0)
            throw new InvalidDataException($"'{path}' has no frames.");
        return OverWhite(path, frames.GetBuffer(), webp?.IsStill ?? IsStill(path) ? 1 : had, reading);
    }

    /// <summary>Width / height of a file's frames as they are shown, turned and with square pixels.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is not a video, or is damaged.</exception>
    /// <exception cref="InvalidOperationException">There is no ffmpeg.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    internal static double AspectRatio(string path, CancellationToken cancellationToken)
    {
        const int Height = 256;
        CheckThere(path);
        if (WebpFrames.IsWebp(path))
        {
            using var webp = WebpFrames.Open(path);
            return (double)webp.Width / webp.Height;
        }
        // A frame of known height as a PGM picture, whose head is text: P5, width, height, 255.
        using var picture = new MemoryStream();
        var (succeeded, complaint) = Ffmpeg.Run(
            Input(path).OutputToUrl("pipe:1", output => output.WithCustomArgument(
                $"-map 0:V:0 -vf \"scale=w='clip(round({Height}*dar),1,{64 * Height})':h={Height},format=gray\" -frames:v 1 -c:v pgm").ForceFormat("image2pipe")),
            feed: null, picture, cancellationToken);
        string[] head = Encoding.ASCII.GetString(picture.GetBuffer(), 0, (int)Math.Min(picture.Length, 32)).Split((char[]?)null, 4);
        return succeeded && head is ["P5", var width, ..] ? int.Parse(width, CultureInfo.InvariantCulture) / (double)Height
            : throw new InvalidDataException($"'{path}' is not a readable video: {(complaint.Length > 0 ? complaint : "it has no frames")}");
    }

    /// <summary>Checks that ffmpeg can be started, to fail before hours of work rather than within them.</summary>
    /// <exception cref="InvalidOperationException">It cannot; the message says what to install.</exception>
    public static void CheckFfmpeg() => Ffmpeg.Check();

    private static void CheckThere(string path)
    {
        if (!File.Exists(path))
            throw new FileNotFoundException($"The video '{path}' does not exist.", path);
    }

    private static FFMpegArguments Input(string path) => FFMpegArguments.FromFileInput(Ffmpeg.Quotable(path), verifyExists: false,
        input => input.WithCustomArgument($"-threads 1 -max_pixels {LargestFrame} {Demuxing(path)}"));

    private static FFMpegArgumentProcessor Plain(string path, FrameReading reading)
    {
        // round=up is what makes output frame k the one shown at k / rate: input time t goes to frame ceil(t * rate), and the last input
        // that lands at or before k wins. STARTPTS: a stream may begin later than its file.
        string rate = reading.Rate.ToString(CultureInfo.InvariantCulture);
        string chosen = reading.Stride > 0 ? $"select='not(mod(n,{reading.Stride}))'," : $"setpts=PTS-STARTPTS,fps={rate}:round=up,";
        return Input(path).OutputToUrl("pipe:1", output => RawOutput(output, chosen + Fit(reading), reading));
    }

    private static FFMpegArgumentProcessor Webp(WebpFrames frames, FrameReading reading)
    {
        // The frames are chosen by WebpFrames; the rest by the same filters as for every file.
        string rate = reading.Rate.ToString(CultureInfo.InvariantCulture);
        return FFMpegArguments
            .FromUrlInput("pipe:0", input => input.WithCustomArgument(
                $"-f rawvideo -pixel_format rgba -video_size {frames.Width}x{frames.Height} -framerate {rate}"))
            .OutputToUrl("pipe:1", output => RawOutput(output, Fit(reading), reading));
    }

    private static void RawOutput(FFMpegOutputOptions output, string filters, FrameReading reading)
        => output.WithCustomArgument($"-map 0:V:0 -vf \"{filters}\" {(reading.Stride > 0 ? "-fps_mode passthrough " : "")}-frames:v {reading.Most}")
            .ForceFormat("rawvideo");

    // Alpha is multiplied in before scaling: the hidden colour of transparent pixels must not bleed into their neighbours.
    private static string Fit(FrameReading reading)
        => "scale=flags=bicubic+accurate_rnd+full_chroma_int,format=gbrap,premultiply=inplace=1," +
           $"scale=w='max({reading.Width},round({reading.Height}*dar))':" +
           $"h='max({reading.Height},round({reading.Width}/dar))':flags=bicubic+accurate_rnd," +
           $"crop={reading.Width}:{reading.Height}{Place(reading)},format=rgba";

    private static string Place(FrameReading reading) => reading.CropAt is var (x, y)
        ? FormattableString.Invariant($":'(in_w-out_w)*{x:F6}':'(in_h-out_h)*{y:F6}'") : "";

    /// <summary>What ffmpeg has to be told of a file, by the file's first bytes.</summary>
    private static string Demuxing(string path)
    {
        ReadOnlySpan<byte> matroska = [0x1A, 0x45, 0xDF, 0xA3], alphaMode = [0x53, 0xC0, 0x81, 0x01];
        var head = Head(path).AsSpan();
        if (head.StartsWith(s_png))
            return head.IndexOf("acTL"u8) >= 0 ? "-f apng" : "-f png_pipe";     // not a series of pictures whose name is a pattern
        if (head.StartsWith(s_jpeg))
            return "-f jpeg_pipe";
        if (!head.StartsWith(matroska) || head.IndexOf(alphaMode) < 0)
            return "";                              // else: ffmpeg's own VP8 and VP9 decoders pass over the alpha channel; libvpx reads it
        return head.IndexOf("V_VP9"u8) >= 0 ? "-c:v libvpx-vp9" : head.IndexOf("V_VP8"u8) >= 0 ? "-c:v libvpx" : "";
    }

    private static bool IsStill(string path) => Head(path).AsSpan() is var head
        && (head.StartsWith(s_jpeg) || head.StartsWith("BM"u8) || (head.StartsWith(s_png) && head.IndexOf("acTL"u8) < 0));

    private static byte[] Head(string path)
    {
        var head = new byte[4096];
        using var file = File.OpenRead(path);
        return head[..file.ReadAtLeast(head, head.Length, throwOnEndOfStream: false)];
    }

    private static VideoClip OverWhite(string path, ReadOnlySpan<byte> premultiplied, int count, FrameReading reading)
    {
        var rgb = new byte[count * reading.Height * reading.Width * 3];
        for (int i = 0; i < rgb.Length / 3; i++)
            for (int c = 0, white = 255 - premultiplied[i * 4 + 3]; c < 3; c++)
                rgb[i * 3 + c] = (byte)Math.Min(255, premultiplied[i * 4 + c] + white);
        return VideoClip.Owning(rgb, count, reading.Height, reading.Width, reading.Rate, path);
    }
}
