using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Microsoft.ML.Mobius.Text;

namespace Microsoft.ML.Mobius.BaseModel;

/// <summary>Learns a byte-pair vocabulary from captions (Sennrich et al. 2016, arXiv 1508.07909), in the format of CLIP's two files.</summary>
internal static class BytePairTraining
{
    /// <summary>Joins the most frequent pair of neighbours <paramref name="mergeCount"/> times, or until every word is one token.</summary>
    /// <returns>
    /// vocab.json: 256 bytes, 256 bytes with &lt;/w&gt;, the merged tokens, start and end token; and merges.txt with its version line. The same
    /// captions give the same files: of equally frequent pairs the ordinally first is joined.
    /// </returns>
    public static (string VocabJson, string MergesTxt) Train(IEnumerable<string> captions, int mergeCount)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(mergeCount);
        var words = captions.SelectMany(ClipWords.Of)
            .Where(word => word is not (ClipTokenizer.StartOfText or ClipTokenizer.EndOfText))
            .CountBy(word => word)
            .Select(pair => new Word(Symbols(pair.Key), pair.Value)).ToList();
        var counts = new Dictionary<(string First, string Second), long>();
        foreach (var word in words)
            Count(word, counts, sign: 1);

        var merges = new List<(string First, string Second)>();
        while (merges.Count < mergeCount && counts.Count > 0)
        {
            var best = counts.Aggregate((a, b) => Compare(a, b) <= 0 ? a : b).Key;
            merges.Add(best);
            foreach (var word in words.Where(word => Contains(word.Symbols, best)))
            {
                Count(word, counts, sign: -1);
                Join(word.Symbols, best);
                Count(word, counts, sign: 1);
            }
        }
        return (VocabularyOf(merges), "#version: 0.2\n" + string.Concat(merges.Select(pair => $"{pair.First} {pair.Second}\n")));
    }

    private static List<string> Symbols(string word)
    {
        var symbols = ClipBytes.Map(word).Select(symbol => symbol.ToString()).ToList();
        symbols[^1] += ClipTokenizer.EndOfWord;
        return symbols;
    }

    private static void Count(Word word, Dictionary<(string, string), long> counts, int sign)
    {
        for (int i = 1; i < word.Symbols.Count; i++)
        {
            var pair = (word.Symbols[i - 1], word.Symbols[i]);
            long count = counts.GetValueOrDefault(pair) + sign * word.Count;
            if (count == 0)
                counts.Remove(pair);
            else
                counts[pair] = count;
        }
    }

    private static int Compare(KeyValuePair<(string First, string Second), long> a, KeyValuePair<(string First, string Second), long> b)
    {
        int order = b.Value.CompareTo(a.Value);
        if (order == 0)
            order = string.CompareOrdinal(a.Key.First, b.Key.First);
        return order != 0 ? order : string.CompareOrdinal(a.Key.Second, b.Key.Second);
    }

    private static bool Contains(List<string> symbols, (string First, string Second) pair)
    {
        for (int i = 1; i < symbols.Count; i++)
        {
            if (symbols[i - 1] == pair.First && symbols[i] == pair.Second)
                return true;
        }
        return false;
    }

    private static void Join(List<string> symbols, (string First, string Second) pair)
    {
        for (int i = 0; i + 1 < symbols.Count; i++)
        {
            if (symbols[i] != pair.First || symbols[i + 1] != pair.Second)
                continue;
            symbols[i] += symbols[i + 1];
            symbols.RemoveAt(i + 1);
        }
    }

    private static string VocabularyOf(List<(string First, string Second)> merges)
    {
        var bytes = ClipBytes.VocabularyOrder.Select(symbol => symbol.ToString()).ToList();
        // Two merges may give the same token by different ways.
        var tokens = bytes.Concat(bytes.Select(symbol => symbol + ClipTokenizer.EndOfWord))
            .Concat(merges.Select(pair => pair.First + pair.Second))
            .Append(ClipTokenizer.StartOfText).Append(ClipTokenizer.EndOfText).Distinct();
        using var text = new MemoryStream();
        using (var json = new Utf8JsonWriter(text, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            int id = 0;
            foreach (string token in tokens)
                json.WriteNumber(token, id++);
            json.WriteEndObject();
        }
        return Encoding.UTF8.GetString(text.ToArray());
    }

    /// <summary>A distinct word in its present pieces, and how often it occurs.</summary>
    private sealed record Word(List<string> Symbols, int Count);
}
