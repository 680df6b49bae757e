using System.Text;

namespace Microsoft.ML.Mobius.Text;

/// <summary>GPT-2's mapping of the 256 bytes to printable characters, in which CLIP's vocabulary and merges are written.</summary>
internal static class ClipBytes
{
    /// <summary>The character of each byte: itself where it is printable in Latin-1, otherwise the next free one from U+0100 on.</summary>
    public static string Symbols { get; } = MakeSymbols();

    /// <summary>The 256 characters in the order of CLIP's vocabulary: first those that stand for themselves.</summary>
    public static string VocabularyOrder { get; } = string.Concat(Symbols.Order());

    /// <summary>A word's UTF-8 bytes as characters.</summary>
    public static string Map(string word) => string.Concat(Encoding.UTF8.GetBytes(word).Select(b => Symbols[b]));

    private static string MakeSymbols()
    {
        var symbols = new char[256];
        char next = '\u0100';
        for (int b = 0; b < 256; b++)
            symbols[b] = b is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF) ? (char)b : next++;
        return new string(symbols);
    }
}
