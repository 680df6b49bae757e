using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace Microsoft.ML.Mobius.Text;

/// <summary>A part of a prompt, and how much it counts.</summary>
/// <param name="Text">As the tokenizer reads it, escapes resolved.</param>
/// <param name="Weight">1 for as much as without.</param>
internal readonly partial record struct WeightedText(string Text, double Weight)
{
    private const double Raised = 1.1, Lowered = 1 / 1.1;

    /// <summary>
    /// The parts of a prompt in the syntax that most programs share (AUTOMATIC1111's): (word) counts 1.1 times, [word] a 1.1th, (word:1.3) 1.3 times, and what stands
    /// within several the product; \( \) \[ \] \\ are the characters themselves. A bracket that nothing closes goes on to the end; one that closes nothing is text.
    /// </summary>
    /// <param name="prompt">Of a user.</param>
    /// <returns>Parts with a text, in order; neighbours differ in weight.</returns>
    public static IReadOnlyList<WeightedText> Parse(string prompt)
    {
        var parts = new List<(StringBuilder Text, double Weight)>();
        var (round, square) = (new Stack<int>(), new Stack<int>());                       // parts that there were when they opened

        void Add(string text, bool begins = false)
        {
            if (begins || parts.Count == 0)
                parts.Add((new StringBuilder(), 1));
            parts[^1].Text.Append(text);
        }

        void Weigh(int from, double factor)
        {
            for (int i = from; i < parts.Count; i++)
                parts[i] = (parts[i].Text, parts[i].Weight * factor);
            Add("", begins: true);
        }

        foreach (Match match in Piece().Matches(prompt))
        {
            string piece = match.Value;
            if (piece.Length == 2 && piece[0] == '\\')
                Add(piece[1..]);
            else if (piece is "(" or "[")
            {
                Add("", begins: true);
                (piece == "(" ? round : square).Push(parts.Count - 1);
            }
            else if (match.Groups[1].Success && round.Count > 0)
                Weigh(round.Pop(), double.Parse(match.Groups[1].ValueSpan, CultureInfo.InvariantCulture));
            else if (piece == ")" && round.Count > 0)
                Weigh(round.Pop(), Raised);
            else if (piece == "]" && square.Count > 0)
                Weigh(square.Pop(), Lowered);
            else
                Add(piece);
        }
        while (round.Count > 0)
            Weigh(round.Pop(), Raised);
        while (square.Count > 0)
            Weigh(square.Pop(), Lowered);

        var merged = new List<WeightedText>();
        foreach (var (text, weight) in parts.Where(part => part.Text.Length > 0))
            if (merged is [.., var last] && last.Weight == weight)
                merged[^1] = last with { Text = last.Text + text };
            else
                merged.Add(new(text.ToString(), weight));
        return merged;
    }

    [GeneratedRegex(@"\\[()\[\]\\]|[()\[\]]|:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)|:|\\|[^\\()\[\]:]+")]
    private static partial Regex Piece();
}
