using System.Diagnostics;
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.ML.Runtime;
using Spectre.Console;

namespace Microsoft.ML.Mobius.Cli;

/// <summary>Tells of work under way.</summary>
/// <param name="share">Of the work, 0 to 1.</param>
/// <param name="detail">What is being done, in a few words.</param>
internal delegate void Meter(double share, string detail);

/// <summary>
/// What a command speaks through: results on standard output, as text or JSON; progress and warnings on standard error, as a bar on a terminal and as
/// plain lines elsewhere.
/// </summary>
internal sealed class Terminal
{
    private const int PlainWidth = 10_000;      // where lines are never broken

    private static readonly string[] s_shown = ["Resumed ", "Convolutions "];
    private static readonly JsonSerializerOptions s_json = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private readonly TextWriter _output;
    private readonly bool _quiet, _asJson, _verbose;
    private readonly IAnsiConsole _text, _side;

    public Terminal(TextWriter output, TextWriter error, bool quiet, bool asJson, bool verbose, CancellationToken token)
    {
        (_output, _quiet, _asJson, _verbose, Token) = (output, quiet, asJson, verbose, token);
        (_text, _side) = (On(output), On(error));
    }

    public CancellationToken Token { get; }

    /// <summary>Columns of the terminal that a writer writes to; null if it writes elsewhere.</summary>
    public static int? WidthOf(TextWriter writer)
    {
        var there = new AnsiConsoleOutput(writer);
        return there.IsTerminal ? there.Width : null;
    }

    /// <summary>A line of text for people.</summary>
    public void Say(string line)
    {
        if (!_quiet && !_asJson)
            _text.WriteLine(line);
    }

    /// <summary>The result: JSON if that was asked for, else what <paramref name="text"/> draws, else an outline of the same.</summary>
    public void Show(JsonObject result, Action<IAnsiConsole>? text = null)
    {
        if (_asJson)
            _output.WriteLine(result.ToJsonString(s_json));
        else if (!_quiet && _text.Profile.Out.IsTerminal)
            (text ?? (console => Outline.Write(console, result)))(_text);
        else if (!_quiet)
        {
            var lines = new StringWriter();
            (text ?? (console => Outline.Write(console, result)))(On(lines));
            foreach (string line in lines.ToString().TrimEnd().Split('\n'))
                _output.WriteLine(line.TrimEnd());          // columns are filled up with spaces
        }
    }

    /// <summary>A line for people that is none of the result: it goes where progress goes.</summary>
    public void Note(string line)
    {
        if (!_quiet)
            _side.WriteLine(line);
    }

    public void Warn(string message)
    {
        if (!_quiet)
            _side.WriteLine($"warning: {message.ReplaceLineEndings(" ")}");
    }

    /// <summary>An MLContext whose warnings are shown, and whose whole log if that was asked for.</summary>
    /// <param name="seed">Its seed.</param>
    /// <param name="gpu">Which GPU computes; null for the CPU.</param>
    public MLContext Context(long? seed = null, int? gpu = null)
    {
        var mlContext = new MLContext(seed is { } one ? (int)(one & int.MaxValue) : null) { GpuDeviceId = gpu };
        mlContext.Log += (_, e) =>
        {
            if (e.Kind is ChannelMessageKind.Warning or ChannelMessageKind.Error)
                Warn(e.RawMessage);
            else if (e.Kind == ChannelMessageKind.Info && (_verbose || s_shown.Any(start => e.RawMessage.StartsWith(start, StringComparison.Ordinal))) && !_quiet)
                _side.WriteLine(e.RawMessage);
        };
        return mlContext;
    }

    /// <summary>Runs something that takes long, and shows how far it is and how long it will still take.</summary>
    /// <param name="what">What it does, as Training.</param>
    /// <param name="run">Does it, and tells of it.</param>
    public T Watch<T>(string what, Func<Meter, T> run)
    {
        if (_quiet)
            return run((_, _) => { });
        if (!_side.Profile.Out.IsTerminal || !_side.Profile.Capabilities.Ansi)
            return run(new PlainMeter(what, _side).Report);

        int width = _side.Profile.Width, bar = Math.Clamp(width / 4, 8, 40), words = Math.Max(8, width - bar - 19);
        var progress = _side.Progress().AutoClear(true).HideCompleted(false).Columns(
            new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn { Width = bar }, new PercentageColumn(), new RemainingTimeColumn());
        return progress.Start(context =>
        {
            var task = context.AddTask(Markup.Escape(what), maxValue: 1);
            return run((share, detail) =>
            {
                task.Description = Markup.Escape(Shortened(detail.ReplaceLineEndings(" "), words));
                task.Value = share;
            });
        });
    }

    internal static string Shortened(string text, int length) => text.Length <= length ? text : text[..(length - 1)] + "…";

    /// <summary>Lines are broken between words on a terminal, and not at all elsewhere.</summary>
    public static IAnsiConsole On(TextWriter writer)
    {
        var there = new AnsiConsoleOutput(writer);
        if (there.IsTerminal)
            return AnsiConsole.Create(new AnsiConsoleSettings { Out = there });
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = there, Ansi = AnsiSupport.No, ColorSystem = ColorSystemSupport.NoColors });
        console.Profile.Width = PlainWidth;
        return console;
    }

    /// <summary>A line for every twentieth.</summary>
    private sealed class PlainMeter(string what, IAnsiConsole console)
    {
        private const int Lines = 20;

        private readonly Stopwatch _clock = Stopwatch.StartNew();
        private double _first = -1;
        private int _told = -1;

        public void Report(double share, string detail)
        {
            detail = detail.ReplaceLineEndings(" ");
            if (_first < 0)
                (_first, _told) = (share, (int)(share * Lines) - 1);
            int twentieth = (int)(share * Lines + 1e-9);
            if (twentieth <= _told)
                return;
            _told = twentieth;
            string remaining = share > _first ? $"  ETA {Clock(_clock.Elapsed * ((1 - share) / (share - _first)))}" : "";
            console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{what} {share:P0}{remaining}  {detail}").Replace(" %", "%", StringComparison.Ordinal));
        }

        private static string Clock(TimeSpan time)
            => time.TotalHours >= 1 ? $"{(int)time.TotalHours}:{time.Minutes:D2}:{time.Seconds:D2}" : $"{(int)time.TotalMinutes}:{time.Seconds:D2}";
    }
}
