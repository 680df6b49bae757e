using System.Globalization;
using System.Text;

namespace Microsoft.ML.Mobius.Text;

/// <summary>Cleans a caption and splits it into the words that byte-pair encoding sees, as transformers' CLIPTokenizer does.</summary>
/// <remarks>
/// Control characters go, CJK characters stand alone, the text is composed (NFC) and lower-cased, white space separates. Then CLIP's expression
/// <c>&lt;\|startoftext\|&gt;|&lt;\|endoftext\|&gt;|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+</c> splits on. It is applied by
/// hand because .NET's expressions see UTF-16 units, so that letters beyond U+FFFF would not be letters to them.
/// </remarks>
internal static class ClipWords
{
    private const int Letter = 0, Digit = 1, Other = 2;

    private static readonly string[] Fixed = [ClipTokenizer.StartOfText, ClipTokenizer.EndOfText, "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

    public static IEnumerable<string> Of(string text) =>
        Composition.Compose(Clean(text)).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).SelectMany(chunk => Split(Lower(chunk)));

    private static string Clean(string text)
    {
        var clean = new StringBuilder(text.Length);
        foreach (var rune in text.EnumerateRunes())
        {
            if (rune.Value is '\t' or '\n' or '\r' || Rune.GetUnicodeCategory(rune) == UnicodeCategory.SpaceSeparator)
                clean.Append(' ');
            else if (IsIdeograph(rune.Value))
                clean.Append(' ').Append(rune).Append(' ');
            else if (rune != Rune.ReplacementChar && !IsControl(rune))
                clean.Append(rune);
        }
        return clean.ToString();
    }

    private static bool IsControl(Rune rune) => Rune.GetUnicodeCategory(rune)
        is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.Surrogate or UnicodeCategory.PrivateUse
        or UnicodeCategory.OtherNotAssigned;

    private static bool IsIdeograph(int value) => value
        is (>= 0x4E00 and <= 0x9FFF) or (>= 0x3400 and <= 0x4DBF) or (>= 0x20000 and <= 0x2A6DF) or (>= 0x2A700 and <= 0x2B73F)
        or (>= 0x2B740 and <= 0x2CEAF) or (>= 0xF900 and <= 0xFAFF) or (>= 0x2F800 and <= 0x2FA1F);

    /// <summary>Unicode's full lower-casing, whose two special rules .NET leaves out: dotted I becomes two characters, a last sigma ς.</summary>
    private static string Lower(string word)
    {
        var lower = new StringBuilder(word.Length);
        int at = 0;
        foreach (var rune in word.EnumerateRunes())
        {
            if (rune.Value == '\u0130')
                lower.Append("i\u0307");
            else if (rune.Value == '\u03A3')
                lower.Append(EndsInLetter(word.AsSpan(0, at)) && !BeginsWithLetter(word.AsSpan(at + 1)) ? '\u03C2' : '\u03C3');
            else
                lower.Append(Rune.ToLowerInvariant(rune));
            at += rune.Utf16SequenceLength;
        }
        return lower.ToString();
    }

    private static bool BeginsWithLetter(ReadOnlySpan<char> text)
    {
        foreach (var rune in text.EnumerateRunes())
        {
            if (!IsPassedOver(rune))
                return IsCased(rune);
        }
        return false;
    }

    private static bool EndsInLetter(ReadOnlySpan<char> text)
    {
        while (Rune.DecodeLastFromUtf16(text, out var rune, out int length) == System.Buffers.OperationStatus.Done)
        {
            if (!IsPassedOver(rune))
                return IsCased(rune);
            text = text[..^length];
        }
        return false;
    }

    /// <summary>Letters that have a case, Roman numerals and circled letters among them.</summary>
    private static bool IsCased(Rune rune) => rune.Value is (>= 0x2160 and <= 0x217F) or (>= 0x24B6 and <= 0x24E9)
        || Rune.GetUnicodeCategory(rune) is UnicodeCategory.LowercaseLetter or UnicodeCategory.UppercaseLetter or UnicodeCategory.TitlecaseLetter;

    private static bool IsPassedOver(Rune rune) => rune.Value is '\'' or '.' or ':' or '\u00B7' or '\u2019' || Rune.GetUnicodeCategory(rune)
        is UnicodeCategory.NonSpacingMark or UnicodeCategory.EnclosingMark or UnicodeCategory.ModifierLetter or UnicodeCategory.ModifierSymbol;

    private static IEnumerable<string> Split(string chunk)
    {
        for (int at = 0, length; at < chunk.Length; at += length)
        {
            length = Fixed.FirstOrDefault(word => string.CompareOrdinal(chunk, at, word, 0, word.Length) == 0)?.Length
                ?? RunLength(chunk.AsSpan(at));
            yield return chunk.Substring(at, length);
        }
    }

    /// <summary>The length of the letters, the one digit, or the other characters with which the text begins.</summary>
    private static int RunLength(ReadOnlySpan<char> text)
    {
        int length = 0;
        int? kind = null;
        foreach (var rune in text.EnumerateRunes())
        {
            int next = KindOf(rune);
            if (kind is not null && (next != kind || kind == Digit))
                break;
            kind = next;
            length += rune.Utf16SequenceLength;
        }
        return length;
    }

    private static int KindOf(Rune rune) => Rune.GetUnicodeCategory(rune) switch
    {
        <= UnicodeCategory.OtherLetter => Letter,
        UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => Digit,
        _ => Other,
    };
}
