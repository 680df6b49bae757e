using System.ComponentModel;
using System.Diagnostics;
using System.Text.RegularExpressions;
using FFMpegCore;

namespace Microsoft.ML.Mobius.Video;

/// <summary>Runs the ffmpeg that FFMpegCore names, with the command lines that FFMpegCore builds.</summary>
/// <remarks>
/// The process is ours and speaks through its standard streams only: no sockets or temporary files to clean up, nothing of its output
/// lost when it ends quickly, and it can be killed at once.
/// </remarks>
internal static partial class Ffmpeg
{
    private const int LongestReason = 300;

    /// <summary>A full path (never taken for an URL or an option), safe between the quotes that FFMpegCore puts around it.</summary>
    public static string Quotable(string path)
        => OperatingSystem.IsWindows() ? Path.GetFullPath(path) : QuotesInPath().Replace(Path.GetFullPath(path), @"$1$1\""");

    /// <summary>Runs one command to its end.</summary>
    /// <param name="command">The command line.</param>
    /// <param name="feed">Writes ffmpeg's standard input; null if it has none.</param>
    /// <param name="output">Takes ffmpeg's standard output; null if it is of no interest.</param>
    /// <param name="cancellationToken">Kills ffmpeg.</param>
    /// <returns>Whether it ended well, and what it complained of (also when it ended well), shortened; empty if of nothing.</returns>
    /// <exception cref="InvalidOperationException">There is no ffmpeg.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled; ffmpeg has ended.</exception>
    public static (bool Succeeded, string Complaint) Run(
        FFMpegArgumentProcessor command, Action<Stream>? feed, Stream? output, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        using var process = Start(GlobalFFOptions.GetFFMpegBinaryPath(), "-hide_banner -nostdin -loglevel error " + command.Arguments);
        using (cancellationToken.Register(() => Kill(process)))
        {
            var complaints = process.StandardError.ReadToEndAsync(CancellationToken.None);
            var feeding = Task.Run(() => Feed(process, feed), CancellationToken.None);
            process.StandardOutput.BaseStream.CopyTo(output ?? Stream.Null);
            process.WaitForExit();
            bool fed = feeding.GetAwaiter().GetResult();
            string complaint = Shorten(complaints.GetAwaiter().GetResult());
            cancellationToken.ThrowIfCancellationRequested();
            return (fed && process.ExitCode == 0, complaint);
        }
    }

    /// <summary>Starts ffmpeg once to see that it can be started.</summary>
    /// <exception cref="InvalidOperationException">It cannot.</exception>
    public static void Check() => Ask("-version");

    /// <summary>What ffmpeg calls itself, as 5.1.6-0+deb12u1.</summary>
    /// <exception cref="InvalidOperationException">It cannot be started.</exception>
    public static string Version() => Ask("-version").Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).SkipWhile(word => word != "version").Skip(1)
        .FirstOrDefault("of unknown version");

    /// <summary>Whether it was built with an encoder, as libx264.</summary>
    /// <exception cref="InvalidOperationException">It cannot be started.</exception>
    public static bool Encodes(string encoder) => Ask("-hide_banner -encoders").Split((char[]?)null).Contains(encoder);

    private static string Ask(string question)
    {
        using var process = Start(GlobalFFOptions.GetFFMpegBinaryPath(), question);
        process.StandardInput.Close();
        var complaints = process.StandardError.ReadToEndAsync();
        string answer = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? answer
            : throw new InvalidOperationException($"ffmpeg is there but does not run: {Shorten(complaints.GetAwaiter().GetResult())}");
    }

    private static Process Start(string program, string arguments)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
            CreateNoWindow = true,
        };
        try
        {
            return Process.Start(start)!;
        }
        catch (Win32Exception e)
        {
            throw new InvalidOperationException(
                $"'{program}' could not be started ({e.Message}). Video files are read and written with ffmpeg: install it " +
                "(Debian and Ubuntu: apt-get install ffmpeg; macOS: brew install ffmpeg; Windows: winget install ffmpeg) so that it is " +
                "on the PATH, or name its folder in FFMpegCore's GlobalFFOptions (BinaryFolder).", e);
        }
    }

    private static bool Feed(Process process, Action<Stream>? feed)
    {
        try
        {
            using var input = process.StandardInput.BaseStream;
            feed?.Invoke(input);
            return true;
        }
        catch (IOException)
        {
            return false;               // ffmpeg closed its end: its own complaint says why
        }
    }

    private static void Kill(Process process)
    {
        try
        {
            process.Kill();
        }
        catch (InvalidOperationException)
        {
            // It ended by itself just now.
        }
    }

    private static string Shorten(string complaints)
    {
        var lines = complaints.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        string text = string.Join("; ", lines.Select(line => Origin().Replace(line, "")).Distinct());
        return text.Length <= LongestReason ? text : text[..LongestReason] + "...";
    }

    [GeneratedRegex(@"^\[[^\]]* @ [^\]]*\]\s*")]
    private static partial Regex Origin();

    [GeneratedRegex(@"(\\*)""")]
    private static partial Regex QuotesInPath();
}
