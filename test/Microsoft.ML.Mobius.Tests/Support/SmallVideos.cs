using System.Diagnostics;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Tests;

/// <summary>A folder of its own for a test, and the small video files that ffmpeg makes in it.</summary>
internal sealed class SmallVideos : IDisposable
{
    public string Folder { get; } = Directory.CreateTempSubdirectory("mobius-video-").FullName;

    public string PathOf(params string[] parts) => Path.Combine([Folder, .. parts]);

    public void Dispose() => Directory.Delete(Folder, recursive: true);

    /// <summary>Runs ffmpeg in the folder; the last argument is the file made. Raw RGBA frames go in where there are any.</summary>
    public string Make(string arguments, byte[]? rgba = null)
    {
        var start = new ProcessStartInfo("ffmpeg", "-y -loglevel error -fflags +bitexact " + arguments)
        {
            WorkingDirectory = Folder, RedirectStandardInput = true, RedirectStandardError = true,
        };
        using var process = Process.Start(start)!;
        process.StandardInput.BaseStream.Write(rgba);
        process.StandardInput.Close();
        string complaint = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.AreEqual(0, process.ExitCode, complaint);
        return PathOf(arguments.Split(' ')[^1]);
    }

    /// <summary>40x30, 10 frames/s, 5 frames: an opaque red box of 20x20 in the middle of transparent black.</summary>
    public string RedBoxOnNothing(string encodeTo)
    {
        var frame = new byte[40 * 30 * 4];
        for (int y = 5; y < 25; y++)
            for (int x = 10; x < 30; x++)
                (frame[(y * 40 + x) * 4], frame[(y * 40 + x) * 4 + 3]) = (255, 255);
        return Make("-f rawvideo -pixel_format rgba -video_size 40x30 -framerate 10 -i - " + encodeTo, [.. frame, .. frame, .. frame, .. frame, .. frame]);
    }

    /// <summary>Frame n is grey of 5 * n, 2 s long.</summary>
    public string Clock(string name, int rate = 25, string encoder = "-c:v libx264 -crf 0")
        => Make($"-f lavfi -i color=black:s=32x32:r={rate}:d=2,format=gray,geq=lum='N*5' {encoder} {name}");

    /// <summary>A smooth picture that changes with every frame.</summary>
    public static VideoClip Gradient(int frames = 8, int height = 64, int width = 64, double rate = 8)
    {
        var pixels = new byte[frames * height * width * 3];
        for (int k = 0, i = 0; k < frames; k++)
            for (int y = 0; y < height; y++)
                for (int x = 0; x < width; x++)
                {
                    pixels[i++] = (byte)(255 * x / width);
                    pixels[i++] = (byte)(255 * y / height);
                    pixels[i++] = (byte)(255 * k / frames);
                }
        return new VideoClip(pixels, frames, height, width, rate);
    }

    /// <summary>Peak signal-to-noise ratio of two clips of one size, in decibels.</summary>
    public static double Psnr(VideoClip a, VideoClip b)
    {
        Assert.AreEqual(a.Pixels.Length, b.Pixels.Length);
        double sum = 0;
        for (int i = 0; i < a.Pixels.Length; i++)
            sum += Math.Pow(a.Pixels.Span[i] - b.Pixels.Span[i], 2);
        return 10 * Math.Log10(255 * 255 * a.Pixels.Length / Math.Max(sum, 1e-9));
    }

    /// <summary>The middle pixel's red of every frame.</summary>
    public static int[] Middle(VideoClip clip)
        => [.. Enumerable.Range(0, clip.FrameCount).Select(k => (int)clip.Frame(k)[(clip.Height / 2 * clip.Width + clip.Width / 2) * 3])];
}
