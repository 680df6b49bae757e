using System.Text.Json;
using Microsoft.ML.Mobius.Text;

namespace Microsoft.ML.Mobius.Tests.Text;

[TestClass]
public sealed class ClipTokenizerTests
{
    [TestMethod]
    public void Encode_OwnVocabulary_MergesWordsAndFallsBackToBytes()
    {
        var tokenizer = Small(maxLength: 8);
        // c=66, a=64, t</w>=256+83: "ca" is the merge 512, "cat</w>" the merge 513; start and end are the last two.
        CollectionAssert.AreEqual(new long[] { 514, 513, 513, 512, 256 + 82, 515, 515, 515 }, tokenizer.Encode("CAT cat\n cas").Ids);
        Assert.AreEqual(4, tokenizer.Encode("cat cat cas").TokenCount);
    }

    [TestMethod]
    public void Encode_TooLong_CutsAndSaysSo()
    {
        var text = Small(maxLength: 5).Encode("cat cat cat cat");
        CollectionAssert.AreEqual(new long[] { 514, 513, 513, 513, 515 }, text.Ids);
        Assert.IsTrue(text.IsCut);
        Assert.AreEqual(4, text.TokenCount);
    }

    [TestMethod]
    public void Encode_PadTokenInTheText_IsATokenOfItsOwn()
    {
        var tokenizer = Small(maxLength: 6, pad: "!");
        CollectionAssert.AreEqual(new long[] { 514, 0, 0, 513, 515, 0 }, tokenizer.Encode("!! cat").Ids);
    }

    [TestMethod]
    public void Save_ThenCreate_GivesTheSameFiles()
    {
        using var vocab = new MemoryStream();
        using var merges = new MemoryStream();
        Small(8).Save(vocab, merges);
        CollectionAssert.AreEqual(Bytes(SmallVocab), vocab.ToArray());
        CollectionAssert.AreEqual(Bytes(SmallMerges), merges.ToArray());
    }

    [TestMethod]
    public void FromFolder_MapAndConfig_TakesThePadOfTheMap()
    {
        var folder = Directory.CreateTempSubdirectory();
        try
        {
            File.WriteAllText(Path.Combine(folder.FullName, "vocab.json"), SmallVocab);
            File.WriteAllText(Path.Combine(folder.FullName, "merges.txt"), SmallMerges);
            Assert.AreEqual(("<|endoftext|>", 77), PadAndLength(folder));
            File.WriteAllText(Path.Combine(folder.FullName, "tokenizer_config.json"), """{"model_max_length": 16, "pad_token": "a"}""");
            Assert.AreEqual(("a", 16), PadAndLength(folder));
            File.WriteAllText(Path.Combine(folder.FullName, "special_tokens_map.json"), """{"pad_token": {"content": "!"}}""");
            Assert.AreEqual(("!", 16), PadAndLength(folder));
            foreach (int tooFew in new[] { 2, 0, -1, int.MinValue })
            {
                File.WriteAllText(Path.Combine(folder.FullName, "tokenizer_config.json"), $$"""{"model_max_length": {{tooFew}}}""");
                Assert.Contains($"have {tooFew} tokens", Assert.ThrowsExactly<InvalidDataException>(() => PadAndLength(folder)).Message);
            }
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [TestMethod]
    public void Create_DamagedFiles_SaysWhich()
    {
        Fails("[1]", SmallMerges, "vocab.json");
        Fails("""{"a": 1}""", SmallMerges, "<|startoftext|>");
        Fails(SmallVocab.Replace("\"~\":93,", ""), SmallMerges, "'~'");
        Fails(SmallVocab, "#version: 0.2\nq zz\n", "merges.txt");
    }

    [TestMethod]
    [DataRow("cafe\u0301", "caf\u00e9")]
    [DataRow("\u0130\u03A3 \u039F\u0394\u039F\u03A3", "i|\u0307|\u03C2| \u03BF\u03B4\u03BF\u03C2")]
    [DataRow("a\u0000b\u00adc", "abc")]
    [DataRow("x2\u4e2dy", "x|2| \u4e2d| y")]
    [DataRow("it's don't?!9", "it|'s| don|'t|?!|9")]
    [DataRow("\U0001D41Axy\U0001F600", "\U0001D41Axy|\U0001F600")]
    public void Words_OfAText_AreClipsWords(string text, string expected) =>
        CollectionAssert.AreEqual(expected.Split('|').Select(word => word.Trim()).ToArray(), ClipWords.Of(text).ToArray());

    [TestMethod]
    [DataRow("e\u0301", "\u00e9")]
    [DataRow("a\u0323\u0302", "\u1ead")]
    [DataRow("a\u0302\u0323", "\u1ead")]
    [DataRow("\u00e2\u0323", "\u1ead")]
    [DataRow("a\u0301\u0301", "\u00e1\u0301")]
    [DataRow("\u1112\u1161\u11ab", "\ud55c")]
    [DataRow("\ud558\u11ab", "\ud55c")]
    [DataRow("\u0301a", "\u0301a")]
    [DataRow("plain \u00e9", "plain \u00e9")]
    public void Compose_Marks_GivesUnicodesComposition(string text, string expected) => Assert.AreEqual(expected, Composition.Compose(text));

    private static (string, int) PadAndLength(DirectoryInfo folder)
    {
        var tokenizer = ClipTokenizer.FromFolder(folder.FullName);
        return (tokenizer.PadToken, tokenizer.MaxLength);
    }

    private static string SmallMerges => "#version: 0.2\nc a\nca t</w>\n";

    private static string SmallVocab
    {
        get
        {
            string[] bytes = [.. ClipBytes.VocabularyOrder.Select(symbol => symbol.ToString())];
            string[] tokens = [.. bytes, .. bytes.Select(symbol => symbol + "</w>"), "ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"];
            return "{" + string.Join(',', tokens.Select((token, id) => $"{JsonSerializer.Serialize(token)}:{id}")) + "}";
        }
    }

    private static ClipTokenizer Small(int maxLength, string pad = "<|endoftext|>") => Create(SmallVocab, SmallMerges, pad, maxLength);

    private static ClipTokenizer Create(string vocab, string merges, string pad = "<|endoftext|>", int maxLength = 77) =>
        ClipTokenizer.Create(new MemoryStream(Bytes(vocab)), new MemoryStream(Bytes(merges)), pad, maxLength);

    private static byte[] Bytes(string text) => System.Text.Encoding.UTF8.GetBytes(text);

    private static void Fails(string vocab, string merges, string expected) =>
        StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(() => Create(vocab, merges)).Message, expected);
}
