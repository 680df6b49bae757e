using Microsoft.ML.Mobius.Text;

namespace Microsoft.ML.Mobius.Tests.Text;

[TestClass]
public sealed class ClipTextConfigTests
{
    [TestMethod]
    public void Parse_ThenToJson_KeepsKnownAndUnknownKeys()
    {
        var config = ClipTextConfig.Parse("""{"hidden_size": 32, "num_attention_heads": 2, "hidden_act": "gelu", "model_type": "clip_text_model"}""");
        Assert.AreEqual((32, 2, "gelu", 77), (config.HiddenSize, config.NumAttentionHeads, config.HiddenAct, config.MaxPositionEmbeddings));
        StringAssert.Contains(config.ToJson(), "\"model_type\": \"clip_text_model\"");
        Assert.AreEqual(32, ClipTextConfig.Parse(config.ToJson()).HiddenSize);
    }

    [TestMethod]
    [DataRow("""{"hidden_size": 30, "num_attention_heads": 4}""", "no multiple")]
    [DataRow("""{"hidden_act": "relu"}""", "'relu'")]
    [DataRow("""{"hidden_act": null}""", "hidden_act")]
    [DataRow("""{"num_hidden_layers": 0}""", "num_hidden_layers is 0")]
    [DataRow("""{"vocab_size": "many"}""", "vocab_size")]
    [DataRow("null", "found null")]
    [DataRow("{", "config.json")]
    public void Parse_WrongValue_SaysWhichAndWhere(string json, string expected)
    {
        var thrown = Assert.ThrowsExactly<InvalidDataException>(() => ClipTextConfig.Parse(json, "config.json"));
        StringAssert.Contains(thrown.Message, expected);
        StringAssert.StartsWith(thrown.Message, "config.json");
    }
}
