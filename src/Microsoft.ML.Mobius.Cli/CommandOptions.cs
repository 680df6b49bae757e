using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.ML.Mobius.Weights;

namespace Microsoft.ML.Mobius.Cli;

/// <summary>Options as several commands have them, each with a message that says what is expected.</summary>
internal static partial class CommandOptions
{
    public static Option<string?> Path(string name, string kind, string description, bool required = false)
        => new(name) { Description = description, HelpName = kind, Required = required };

    /// <summary>A whole number.</summary>
    public static Option<long?> Whole(string name, string description, long least, long most = int.MaxValue) => new(name)
    {
        Description = description, HelpName = "N",
        CustomParser = argument => long.TryParse(Text(argument), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long number)
            && number >= least && number <= most ? number : Wrong<long?>(argument, name, $"a whole number from {least} to {most}"),
    };

    /// <summary>A number.</summary>
    public static Option<double?> Number(string name, string description, double least, double most) => new(name)
    {
        Description = description, HelpName = "X",
        CustomParser = argument => double.TryParse(Text(argument), NumberStyles.Float, CultureInfo.InvariantCulture, out double number)
            && number >= least && number <= most ? number
            : Wrong<double?>(argument, name, string.Create(CultureInfo.InvariantCulture, $"a number from {least} to {most}")),
    };

    /// <summary>One of an enumeration's names, written-like-this or AsInCode.</summary>
    public static Option<T?> OneOf<T>(string name, string description) where T : struct, Enum
    {
        var values = Enum.GetValues<T>().ToDictionary(Name);
        return new(name)
        {
            Description = $"{description}: {string.Join(", ", values.Keys)}", HelpName = "NAME",
            CustomParser = argument =>
            {
                foreach (var (text, value) in values)
                    if (Text(argument).Equals(text, StringComparison.OrdinalIgnoreCase) || Text(argument).Equals($"{value}", StringComparison.OrdinalIgnoreCase))
                        return value;
                return Wrong<T?>(argument, name, $"one of {string.Join(", ", values.Keys)}");
            },
        };
    }

    /// <summary>LoRA files, each with a scale of its own if one is said.</summary>
    public static Option<LoraSource[]?> Loras(string description) => new("--lora")
    {
        Description = description, HelpName = "FILE[=SCALE]", Arity = ArgumentArity.OneOrMore,
        CustomParser = argument => [.. argument.Tokens.Select(token => Lora(token.Value))],
    };

    /// <summary>Which GPU is to compute.</summary>
    public static Option<long?> Gpu() => Whole("--gpu", "Compute on this GPU, counted from 0 (default: on the CPU)", least: 0, most: 63);

    private static LoraSource Lora(string text)
        => text.LastIndexOf('=') is > 0 and var at && double.TryParse(text[(at + 1)..], NumberStyles.Float, CultureInfo.InvariantCulture, out double scale)
            && double.IsFinite(scale) ? new(text[..at], scale) : new(text);

    private static string Text(ArgumentResult argument) => argument.Tokens[^1].Value;

    private static T? Wrong<T>(ArgumentResult argument, string name, string expected)
    {
        argument.AddError($"{name} is '{Text(argument)}': expected {expected}.");
        return default;
    }

    private static string Name<T>(T value) where T : struct, Enum => WordStart().Replace($"{value}", "-$0").ToLowerInvariant();

    [GeneratedRegex("(?<=[a-z])[A-Z]")]
    private static partial Regex WordStart();
}
