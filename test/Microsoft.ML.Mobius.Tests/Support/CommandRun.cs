using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Cli;

namespace Microsoft.ML.Mobius.Tests;

/// <summary>What the mobius command did, run in this process.</summary>
internal sealed record CommandRun(int ExitCode, string Output, string Error)
{
    /// <summary>The result of a run with --json.</summary>
    public JsonObject Json => JsonNode.Parse(Output)!.AsObject();

    public static CommandRun Of(params string[] args) => Until(null, args);

    /// <summary>Runs, and asks to end as Ctrl-C does once standard error has a text.</summary>
    public static CommandRun Until(string? seen, params string[] args)
    {
        using var interruption = new Interruption();
        using var output = new StringWriter();
        using var error = new Watched(text =>
        {
            if (seen is not null && text.Contains(seen, StringComparison.Ordinal))
                interruption.Request(Interruption.Interrupted);
        });
        int exitCode = new MobiusCommand(output, error, interruption).Run(args);
        return new(exitCode, output.ToString(), error.ToString());
    }

    /// <summary>It failed, and one line says why.</summary>
    public void AssertFailed(int exitCode, params string[] said)
    {
        Assert.AreEqual(exitCode, ExitCode, Error);
        Assert.AreEqual(1, Error.TrimEnd().Split('\n').Count(line => !line.StartsWith("warning: ", StringComparison.Ordinal)), Error);
        foreach (string part in said)
            Assert.Contains(part, Error);
    }

    public CommandRun Succeeded()
    {
        Assert.AreEqual(0, ExitCode, Error);
        return this;
    }

    private sealed class Watched(Action<string> look) : StringWriter
    {
        public override void Write(string? value)
        {
            base.Write(value);
            look(value ?? "");
        }
    }
}
