using System.Globalization;
using System.Text.RegularExpressions;

namespace Microsoft.ML.Mobius.Tests.GoldenCases;

/// <summary>What a folder's README.md allows: the numbers of the passage that begins at "Tolerance" or "Suggested".</summary>
internal sealed partial class Tolerances
{
    private readonly string _passage;

    public Tolerances(string readme)
    {
        var found = Beginning().Match(readme);
        _passage = found.Success ? readme[found.Index..].Split("\n|")[0] : "";
    }

    public static Tolerances Of(Golden golden) => new(golden.Has("README.md") ? File.ReadAllText(golden.PathOf("README.md")) : "");

    /// <summary>The first number after a word (or, for a word that is not there, after the next), or <paramref name="usual"/>.</summary>
    public double Of(double usual, params string[] words)
    {
        foreach (string word in words)
            if (Regex.Match(_passage, Regex.Escape(word) + @"[^0-9;]*?(\d[\d.]*(?:e-?\d+)?)(?![\w])", RegexOptions.IgnoreCase) is { Success: true } found)
                return double.Parse(found.Groups[1].Value.TrimEnd('.'), CultureInfo.InvariantCulture);
        return usual;
    }

    [GeneratedRegex(@"Tolerances?\b|Suggested:", RegexOptions.RightToLeft)]
    private static partial Regex Beginning();
}
