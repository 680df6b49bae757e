using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace Microsoft.ML.Mobius.Cli;

/// <summary>A command whose help ends in examples.</summary>
internal sealed class ExampleCommand(string name, string description, params string[] examples) : System.CommandLine.Command(name, description)
{
    /// <summary>Command lines that can be copied.</summary>
    public IReadOnlyList<string> Examples { get; } = examples;
}

/// <summary>The usual help, as wide as the terminal, and the command's examples.</summary>
internal sealed class HelpWithExamples(HelpAction help) : SynchronousCommandLineAction
{
    private const int UsualWidth = 100, LeastWidth = 40;

    public override bool ClearsParseErrors => true;

    public override int Invoke(ParseResult parseResult)
    {
        var output = parseResult.InvocationConfiguration.Output;
        int width = help.MaxWidth = Terminal.WidthOf(output) is { } there ? Math.Max(LeastWidth, there) : UsualWidth;
        int code = help.Invoke(parseResult);
        if (parseResult.CommandResult.Command is ExampleCommand { Examples: { Count: > 0 } examples })
        {
            output.WriteLine("Examples:");
            foreach (string example in examples)
                output.WriteLine($"  {(example.Length + 2 <= width ? example : example.Replace(" --", " \\\n    --", StringComparison.Ordinal))}");
            output.WriteLine();
        }
        return code;
    }
}
