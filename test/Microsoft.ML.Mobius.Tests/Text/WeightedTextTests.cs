using System.Globalization;
using Microsoft.ML.Mobius.Text;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Text;

[TestClass]
public sealed class WeightedTextTests
{
    [TestMethod]
    [DataRow("", "")]
    [DataRow("normal text", "normal text|1")]
    [DataRow("an (important) word", "an |1|important|1.1| word|1")]
    [DataRow("(unbalanced", "unbalanced|1.1")]
    [DataRow("unbalanced) text]", "unbalanced) text]|1")]
    [DataRow(@"\(literal\]", "(literal]|1")]
    [DataRow(@"a\\b \c", @"a\b \c|1")]
    [DataRow("(unnecessary)(parens)", "unnecessaryparens|1.1")]
    [DataRow("[less] (a:0)b", "less|0.9091| |1|a|0|b|1")]
    [DataRow("( a : 1.5 ) b:2 (c:d)", " a |1.5| b:2 |1|c:d|1.1")]
    [DataRow("a:1.2) (b:-.5)", "a:1.2) |1|b|-0.5")]
    [DataRow("a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).", "a |1|house|1.573| |1.1|on|1| a |1.1|hill|0.55|, sun, |1.1|sky|1.4641|.|1.1")]
    public void Parse_SharedSyntax_GivesPartsAndWeights(string prompt, string expected)
        => Assert.AreEqual(expected, string.Join('|', WeightedText.Parse(prompt)
            .Select(part => string.Create(CultureInfo.InvariantCulture, $"{part.Text}|{Math.Round(part.Weight, 4)}"))));

    [TestMethod]
    public void Encode_Parts_WeighTheirOwnTokens()
    {
        var tokenizer = Tiny.Tokenizer();
        var text = tokenizer.Encode(WeightedText.Parse("ab (cd:2) e"));
        CollectionAssert.AreEqual(tokenizer.Encode("ab cd e").Ids, text.Ids);
        CollectionAssert.AreEqual(new float[] { 1, 1, 1, 2, 2, 1, 1 }, text.Weights[..7]);
        Assert.HasCount(text.Ids.Length, text.Weights);
    }

    [TestMethod]
    public void Encode_CutWithinAPart_KeepsWhatIsThere()
    {
        var text = Tiny.Tokenizer().Encode(WeightedText.Parse($"({new string('a', 80)}:3)"));
        Assert.IsTrue(text.IsCut);
        Assert.AreEqual(80, text.TokenCount);
        CollectionAssert.AreEqual((float[])[1, .. Enumerable.Repeat(3f, 75), 1], text.Weights);
    }

    [TestMethod]
    public void EncodeText_Weighted_RaisesAWordAndKeepsTheMeanSize()
    {
        using var model = Tiny.Video();
        using var scope = NewDisposeScope();
        var plain = model.EncodeText("ab cd", "e");
        Close.Assert(plain, model.EncodeText(["ab cd", "e"], weighted: true), 0);
        var weighted = model.EncodeText(["ab (cd:1.4)", "e"], weighted: true);
        Close.Assert(plain[1], weighted[1], 0, "The other prompt is as it was.");
        Close.Assert(plain[0].abs().mean(), weighted[0].abs().mean(), 1e-5);
        var ratio = weighted[0] / plain[0];
        Close.Assert(full_like(ratio[3], 1.4), ratio[3] / ratio[1], 1e-4);
        Close.Assert(model.EncodeText("ab (cd:1.4)"), model.EncodeText(["ab (cd:1.4)"], weighted: false), 0);
    }
}
