using System.CommandLine;
using System.CommandLine.Help;
using System.Reflection;
using Microsoft.ML.Mobius.Distributed;
using Spectre.Console;

namespace Microsoft.ML.Mobius.Cli;

using Command = System.CommandLine.Command;       // here, for Microsoft.ML.Command is a namespace

/// <summary>The command line: parses it, runs the command, and says in one line what went wrong.</summary>
/// <param name="output">Takes results.</param>
/// <param name="error">Takes progress, warnings and errors.</param>
/// <param name="interruption">Ends the command early.</param>
internal sealed class MobiusCommand(TextWriter output, TextWriter error, Interruption interruption)
{
    private const int Failed = 1, BadCommandLine = 2;

    private readonly Option<bool> _quiet = new("--quiet", "-q") { Description = "Say nothing but errors", Recursive = true };
    private readonly Option<bool> _json = new("--json") { Description = "Give the result as JSON on standard output", Recursive = true };
    private readonly Option<bool> _verbose = new("--verbose") { Description = "Show the log, and the stack trace of an error", Recursive = true };

    /// <summary>Runs a command.</summary>
    /// <param name="args">The command and its options.</param>
    /// <returns>The exit code: 0, 1 for a failure, 2 for a wrong command line, 130 and 143 if it was ended by Ctrl-C or SIGTERM.</returns>
    public int Run(params string[] args)
    {
        var parsed = Root().Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null, EnablePosixBundling = false });
        if (parsed.Errors.Count > 0)
        {
            string asked = string.Join(' ', Names(parsed.CommandResult.Command));
            return Fail(BadCommandLine, $"{parsed.Errors[0].Message} See '{asked} --help'.");
        }
        try
        {
            return parsed.Invoke(new InvocationConfiguration { Output = output, Error = error, EnableDefaultExceptionHandler = false });
        }
        catch (Exception e) when (interruption.Token.IsCancellationRequested)
        {
            string said = e is IOException || (e is OperationCanceledException && e.InnerException is not null) ? $" {e.Message.ReplaceLineEndings(" ")}" : "";
            return Fail(interruption.ExitCode, (interruption.ExitCode == Interruption.Terminated ? "Terminated." : "Interrupted.") + said);
        }
        catch (Exception e)
        {
            var cause = e;
            while (cause is AggregateException or TargetInvocationException && cause.InnerException is { } inner)
                cause = inner;
            string message = cause is ArgumentException { ParamName: { } name } ? cause.Message.Replace($" (Parameter '{name}')", "", StringComparison.Ordinal) : cause.Message;
            int code = Fail(cause is ArgumentException ? BadCommandLine : Failed, message.ReplaceLineEndings(" "));
            if (parsed.GetValue(_verbose))
                error.WriteLine(e);
            return code;
        }
    }

    /// <summary>What a command speaks through, as its options ask; of several ranks only the first speaks.</summary>
    public Terminal TerminalFor(ParseResult parsed)
        => new(output, error, parsed.GetValue(_quiet) || !ProcessGroup.IsStartedFirst, parsed.GetValue(_json), parsed.GetValue(_verbose), interruption.Token);

    private Command Root()
    {
        var help = new HelpOption();
        help.Action = new HelpWithExamples((HelpAction)help.Action!);
        var root = new ExampleCommand("mobius", "Trains text-to-video models on captioned clips, generates videos with them, and looks into them.",
            "mobius doctor", "mobius train --clips clips --out out", "mobius generate --model out --prompt \"a cat\"", "mobius train --help")
        {
            TrainCommand.Define(this), GenerateCommand.Define(this), EvaluateCommand.Define(this), InspectCommand.Define(this),
            ConvertCommand.Define(this), BenchCommand.Define(this), DoctorCommand.Define(this), BenchCommand.DefineMeasure(this, output), _quiet, _json, _verbose, help, new VersionOption(),
        };
        root.SetAction(_ => root.Parse(["--help"]).Invoke(new InvocationConfiguration { Output = output, Error = error }));
        return root;
    }

    private static IEnumerable<string> Names(Symbol symbol)
        => [.. symbol.Parents.SelectMany(Names), symbol.Name];

    private int Fail(int exitCode, string message)
    {
        Terminal.On(error).WriteLine($"mobius: {message}");
        return exitCode;
    }
}
