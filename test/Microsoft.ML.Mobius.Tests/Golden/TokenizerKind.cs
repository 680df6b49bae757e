using Microsoft.ML.Mobius.Text;

namespace Microsoft.ML.Mobius.Tests.GoldenCases;

/// <summary>Prompts and their token ids, under the padding of the folder and of Stable Diffusion 2 ("!").</summary>
internal sealed class TokenizerKind : GoldenKind
{
    public override bool Fits(Golden golden) => golden.Has("prompts.json") && golden.Has("vocab.json");

    public override void Check(Golden golden, Tolerances tolerances, Findings findings)
    {
        var own = ClipTokenizer.FromFolder(golden.Folder);
        using var vocabulary = File.OpenRead(golden.PathOf("vocab.json"));
        using var merges = File.OpenRead(golden.PathOf("merges.txt"));
        var bang = ClipTokenizer.Create(vocabulary, merges, "!", own.MaxLength);
        long ownPad = own.Encode("").Ids[^1], bangPad = bang.Encode("").Ids[^1];
        foreach (var row in golden.Json("prompts.json").AsArray())
        {
            string prompt = row!["prompt"]!.GetValue<string>();
            long[] Ids(string name) => [.. (row[name] ?? row["ids"])!.AsArray().Select(id => id!.GetValue<long>())];
            void Same(ClipTokenizer tokenizer, long[] ids, long pad)
            {
                long[] expected = [.. ids, .. Enumerable.Repeat(pad, tokenizer.MaxLength - ids.Length)], actual = tokenizer.Encode(prompt).Ids;
                findings.Holds($"'{prompt}' is {string.Join(' ', actual.Take(ids.Length))} instead of {string.Join(' ', ids)}", actual.AsSpan().SequenceEqual(expected));
            }
            Same(own, Ids(own.PadToken == "!" ? "ids_pad_bang" : "ids"), ownPad);
            Same(bang, Ids("ids_pad_bang"), bangPad);
            if (own.PadToken != "!")
                findings.Holds($"'{prompt}' is counted wrong", own.Encode(prompt).TokenCount == row["n_full"]!.GetValue<int>());
        }
    }
}
