using System.Globalization;
using FFMpegCore;

namespace Microsoft.ML.Mobius.Video;

/// <summary>Reads mp4, mov, webm, gif, animated PNG and animated WebP files (and what else the installed ffmpeg knows).</summary>
/// <remarks>
/// Needs ffmpeg, 5.1 or later, on the PATH or in the folder that FFMpegCore's GlobalFFOptions names; one short process per file, no
/// temporary files. May be used from several threads at once.
/// </remarks>
public static class VideoReader
{
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
        if (!File.Exists(path))
            throw new FileNotFoundException($"The video '{path}' does not exist.", path);

        using var webp = WebpFrames.IsWebp(path) ? WebpFrames.Open(path) : null;
        var command = webp is null ? Plain(path, options) : Webp(webp, options);
        Action<Stream>? feed = webp is null ? null : input => webp.WriteTo(input, options.FrameCount, options.FrameRate, cancellationToken);
        using var frames = new MemoryStream(options.FrameCount * options.Width * options.Height * 4);
        var (succeeded, complaint) = Ffmpeg.Run(command, feed, frames, cancellationToken);

        int frameSize = options.Width * options.Height * 4;
        int had = (int)(frames.Length / frameSize);
        bool damaged = had < options.FrameCount && complaint.Length > 0;
        if (!succeeded || damaged || frames.Length % frameSize != 0)
            throw new InvalidDataException(
                $"'{path}' is not a readable video: {(complaint.Length > 0 ? complaint : "it ends within a frame")}");
        if (had == 0)
            throw new InvalidDataException($"'{path}' has no frames.");
        if (had < options.FrameCount && options.ShortClip == ShortClip.Refuse)
            throw new InvalidDataException(string.Create(CultureInfo.InvariantCulture,
                $"'{path}' is too short: {options.FrameCount} frames were asked for, but at {options.FrameRate} frames/s it has {had}."));
        return Clip(path, frames.GetBuffer(), had, options);
    }

    /// <summary>Checks that ffmpeg can be started, to fail before hours of work rather than within them.</summary>
    /// <exception cref="InvalidOperationException">It cannot; the message says what to install.</exception>
    public static void CheckFfmpeg() => Ffmpeg.Check();

    private static FFMpegArgumentProcessor Plain(string path, VideoReadOptions options)
    {
        // round=up is what makes output frame k the one shown at k / rate: input time t goes to frame ceil(t * rate), and the last input
        // that lands at or before k wins. STARTPTS: a stream may begin later than its file.
        string rate = options.FrameRate.ToString(CultureInfo.InvariantCulture);
        string byTime = $"setpts=PTS-STARTPTS,fps={rate}:round=up,";
        return FFMpegArguments
            .FromFileInput(Ffmpeg.Quotable(path), verifyExists: false, input => input.WithCustomArgument("-threads 1 " + Demuxing(path)))
            .OutputToUrl("pipe:1", output => RawOutput(output, byTime + Fit(options), options));
    }

    private static FFMpegArgumentProcessor Webp(WebpFrames frames, VideoReadOptions options)
    {
        // The sampling by time is done by WebpFrames; the rest by the same filters as for every file.
        string rate = options.FrameRate.ToString(CultureInfo.InvariantCulture);
        return FFMpegArguments
            .FromUrlInput("pipe:0", input => input.WithCustomArgument(
                $"-f rawvideo -pixel_format rgba -video_size {frames.Width}x{frames.Height} -framerate {rate}"))
            .OutputToUrl("pipe:1", output => RawOutput(output, Fit(options), options));
    }

    private static void RawOutput(FFMpegOutputOptions output, string filters, VideoReadOptions options)
        => output.WithCustomArgument($"-map 0:V:0 -vf \"{filters}\" -frames:v {options.FrameCount}").ForceFormat("rawvideo");

    // Alpha is multiplied in before scaling: the hidden colour of transparent pixels must not bleed into their neighbours.
    private static string Fit(VideoReadOptions options)
        => "scale=flags=bicubic+accurate_rnd+full_chroma_int,format=gbrap,premultiply=inplace=1," +
           $"scale=w='max({options.Width},round({options.Height}*dar))':" +
           $"h='max({options.Height},round({options.Width}/dar))':flags=bicubic+accurate_rnd," +
           $"crop={options.Width}:{options.Height},format=rgba";

    /// <summary>What ffmpeg has to be told of a file, by the file's first bytes.</summary>
    private static string Demuxing(string path)
    {
        Span<byte> head = stackalloc byte[4096];
        using (var file = File.OpenRead(path))
            head = head[..file.ReadAtLeast(head, head.Length, throwOnEndOfStream: false)];

        ReadOnlySpan<byte> png = [0x89, (byte)'P', (byte)'N', (byte)'G'];
        ReadOnlySpan<byte> matroska = [0x1A, 0x45, 0xDF, 0xA3], alphaMode = [0x53, 0xC0, 0x81, 0x01];
        if (head.StartsWith(png) && head.IndexOf("acTL"u8) >= 0)
            return "-f apng";                       // not a series of pictures whose name is a pattern
        if (!head.StartsWith(matroska) || head.IndexOf(alphaMode) < 0)
            return "";                              // else: ffmpeg's own VP8 and VP9 decoders pass over the alpha channel; libvpx reads it
        return head.IndexOf("V_VP9"u8) >= 0 ? "-c:v libvpx-vp9" : head.IndexOf("V_VP8"u8) >= 0 ? "-c:v libvpx" : "";
    }

    private static VideoClip Clip(string path, ReadOnlySpan<byte> premultiplied, int had, VideoReadOptions options)
    {
        int pixels = options.Width * options.Height;
        var rgb = new byte[options.FrameCount * pixels * 3];
        for (int k = 0; k < options.FrameCount; k++)
        {
            int from = k < had ? k : options.ShortClip == ShortClip.Hold ? had - 1 : k % had;
            var source = premultiplied.Slice(from * pixels * 4, pixels * 4);
            var target = rgb.AsSpan(k * pixels * 3, pixels * 3);
            for (int i = 0; i < pixels; i++)
                for (int c = 0, white = 255 - source[i * 4 + 3]; c < 3; c++)
                    target[i * 3 + c] = (byte)Math.Min(255, source[i * 4 + c] + white);
        }
        return new VideoClip(rgb, options.FrameCount, options.Height, options.Width, options.FrameRate, path);
    }
}
