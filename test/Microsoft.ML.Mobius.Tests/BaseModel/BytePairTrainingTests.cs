using System.Text;
using System.Text.Json;
using Microsoft.ML.Mobius.BaseModel;
using Microsoft.ML.Mobius.Text;

namespace Microsoft.ML.Mobius.Tests.BaseModel;

[TestClass]
public sealed class BytePairTrainingTests
{
    private static readonly string[] Captions = ["A red ball rolls to the left", "a blue ball, the red cube", "the ball bounces <|endoftext|>"];

    [TestMethod]
    public void Train_FewCaptions_MakesTheirWordsSingleTokens()
    {
        var (vocab, merges) = BytePairTraining.Train(Captions, 1000);
        var text = Tokenizer(vocab, merges).Encode("the blue ball rolls to the left");
        Assert.AreEqual(7, text.TokenCount);
        StringAssert.StartsWith(merges, "#version: 0.2\n");
    }

    [TestMethod]
    public void Train_Vocabulary_IsDenseWithTheSpecialTokensLast()
    {
        var (vocab, merges) = BytePairTraining.Train(Captions, 10);
        var ids = JsonSerializer.Deserialize<Dictionary<string, int>>(vocab)!;
        Assert.AreEqual(11, merges.Count(c => c == '\n'));
        CollectionAssert.AreEqual(Enumerable.Range(0, 256 + 256 + 10 + 2).ToArray(), ids.Values.ToArray());
        Assert.AreEqual((522, 523), (ids["<|startoftext|>"], ids["<|endoftext|>"]));
        Assert.AreEqual((0, 256), (ids["!"], ids["!</w>"]));
    }

    [TestMethod]
    public void Train_EquallyFrequentPairs_JoinsTheFirstWhateverTheOrder()
    {
        Assert.AreEqual("#version: 0.2\na b</w>\n", BytePairTraining.Train(["cd ab", "ab cd"], 1).MergesTxt);
        Assert.AreEqual(BytePairTraining.Train(Captions, 50), BytePairTraining.Train(Captions.Reverse(), 50));
    }

    [TestMethod]
    [DataRow("\u00dcn\u00efc\u00f6de \u2603 \U0001F600\U0001F601 \u65e5\u672c 12.5% zebra!?")]
    [DataRow("ball balloon reddish the")]
    public void Encode_AnyText_KeepsEveryByte(string text)
    {
        var (vocab, merges) = BytePairTraining.Train(Captions, 1000);
        var tokens = JsonSerializer.Deserialize<Dictionary<string, int>>(vocab)!.ToDictionary(pair => (long)pair.Value, pair => pair.Key);
        var encoded = Tokenizer(vocab, merges).Encode(text);
        string symbols = string.Concat(encoded.Ids.Skip(1).Take(encoded.TokenCount).Select(id => tokens[id])).Replace("</w>", "");
        byte[] bytes = [.. symbols.Select(symbol => (byte)ClipBytes.Symbols.IndexOf(symbol))];
        Assert.AreEqual(string.Concat(ClipWords.Of(text)), Encoding.UTF8.GetString(bytes));
    }

    private static ClipTokenizer Tokenizer(string vocab, string merges) =>
        ClipTokenizer.Create(new MemoryStream(Encoding.UTF8.GetBytes(vocab)), new MemoryStream(Encoding.UTF8.GetBytes(merges)));
}
