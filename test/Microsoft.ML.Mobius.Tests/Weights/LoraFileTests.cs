using Microsoft.ML.Mobius.Text;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Weights;

[TestClass]
public sealed class LoraFileTests
{
    private const string Layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0";
    private const string TextLayer = "text_model.encoder.layers.0.self_attn.out_proj";

    private readonly DisposeScope _scope = NewDisposeScope();

    [TestCleanup]
    public void Dispose() => _scope.Dispose();

    [TestMethod]
    [DataRow("unet." + Layer + ".lora_A.weight", "unet." + Layer + ".lora_B.weight", "unet", Layer)]
    [DataRow("base_model.model." + Layer + ".lora_A.default.weight", "base_model.model." + Layer + ".lora_B.default.weight", null, Layer)]
    [DataRow(Layer + ".lora_A", Layer + ".lora_B", null, Layer)]
    [DataRow("unet." + Layer + ".lora.down.weight", "unet." + Layer + ".lora.up.weight", "unet", Layer)]
    [DataRow("unet.mid_block.attentions.0.transformer_blocks.0.attn2.processor.to_out_lora.down.weight",
        "unet.mid_block.attentions.0.transformer_blocks.0.attn2.processor.to_out_lora.up.weight", "unet", "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0")]
    [DataRow("mid_block.attentions.0.transformer_blocks.0.attn2.processor.to_q_lora.down.weight",
        "mid_block.attentions.0.transformer_blocks.0.attn2.processor.to_q_lora.up.weight", null, "mid_block.attentions.0.transformer_blocks.0.attn2.to_q")]
    [DataRow("text_encoder." + TextLayer + ".lora_linear_layer.down.weight", "text_encoder." + TextLayer + ".lora_linear_layer.up.weight", "text_encoder", TextLayer)]
    [DataRow("text_encoder.text_model.encoder.layers.0.self_attn.to_out_lora.down.weight", "text_encoder.text_model.encoder.layers.0.self_attn.to_out_lora.up.weight", "text_encoder", TextLayer)]
    [DataRow("text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.down.weight", "text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.up.weight", "text_encoder",
        "text_model.encoder.layers.0.self_attn.q_proj")]
    [DataRow("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight", "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight", "unet", "down_blocks_0_attentions_0_proj_in")]
    [DataRow("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight", "text_encoder", "text_model_encoder_layers_0_mlp_fc1")]
    [DataRow("down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.1.processor.to_k_lora.down.weight",
        "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.1.processor.to_k_lora.up.weight", null,
        "down_blocks.0.motion_modules.0.transformer_blocks.0.attn2.to_k")]
    public void Of_Dialect_NamesTheLayer(string down, string up, string? network, string layer)
    {
        var pair = LoraFile.Of("x", new Dictionary<string, Tensor> { [up] = ones(3, 2), [down] = ones(2, 5) }).Pairs.Single();
        Assert.AreEqual((network, layer, 2.0), (pair.Network, pair.Layer, pair.Alpha));
        CollectionAssert.AreEqual(new long[] { 2, 5 }, pair.Down.shape);
    }

    [TestMethod]
    [DataRow("unet.a.lora_A.weight", "unet.a.lora_B.weight", "unet.a.alpha")]
    [DataRow("lora_unet_a.lora_down.weight", "lora_unet_a.lora_up.weight", "lora_unet_a.alpha")]
    [DataRow("a.to_q_lora.down.weight", "a.to_q_lora.up.weight", "a.to_q_lora.alpha")]
    public void Of_Alpha_IsThePairsOwn(string down, string up, string alpha)
        => Assert.AreEqual(8, LoraFile.Of("x", new Dictionary<string, Tensor> { [down] = ones(2, 5), [up] = ones(3, 2), [alpha] = tensor(8f) }).Pairs.Single().Alpha);

    [TestMethod]
    [DataRow("""{"lora_alpha": 6, "r": 2}""", 6)]
    [DataRow("""{"unet.lora_alpha": 6, "text_encoder.lora_alpha": 7, "unet.alpha_pattern": {}}""", 6)]
    [DataRow("""{"lora_alpha": 4, "use_rslora": true}""", 4 * 1.4142135623730951)]
    [DataRow("""{"r": 2}""", 2)]
    public void Of_ConfigurationOfPeft_SaysAlpha(string config, double alpha)
        => Assert.AreEqual(alpha, LoraFile.Of("x", Pair("unet.a"), config).Pairs.Single().Alpha, 1e-12);

    [TestMethod]
    [DataRow("""{"use_dora": true}""", "use_dora")]
    [DataRow("""{"unet.alpha_pattern": {"attn1": 8}}""", "alpha_pattern")]
    [DataRow("""[1""", "JSON")]
    public void Of_ConfigurationNotSupported_IsRefused(string config, string named)
        => StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(() => LoraFile.Of("x", Pair("unet.a"), config)).Message, named);

    [TestMethod]
    [DataRow("unet.a.lora_magnitude_vector")]
    [DataRow("lora_unet_a.dora_scale")]
    [DataRow("lora_unet_a.hada_w1_a")]
    [DataRow("lora_unet_a.lora_mid.weight")]
    [DataRow("unet.a.lora_B.bias")]
    public void Of_AnotherRuleThanLoras_IsRefused(string key)
        => StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(() => LoraFile.Of("x.safetensors", new Dictionary<string, Tensor>(Pair("unet.a")) { [key] = ones(1) })).Message, key);

    [TestMethod]
    public void Of_HalfAPair_IsRefused()
    {
        StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(
            () => LoraFile.Of("x", new Dictionary<string, Tensor> { ["unet.a.lora_A.weight"] = ones(2, 5) })).Message, "unet.a.lora_A.weight without");
        StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(
            () => LoraFile.Of("x", new Dictionary<string, Tensor> { ["unet.a.lora_A.weight"] = ones(2, 5), ["unet.a.lora_B.weight"] = ones(3, 4) })).Message, "[3, 4] are no pair");
        StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(
            () => LoraFile.Of("x", new Dictionary<string, Tensor>(Pair("unet.a")) { ["unet.a.lora.down.weight"] = ones(2, 5) })).Message, "more than one");
    }

    [TestMethod]
    public void Read_Folder_TakesTheKnownFileAndItsConfiguration()
    {
        using var folder = new TempFolder();
        StringAssert.Contains(Assert.ThrowsExactly<FileNotFoundException>(() => LoraFile.Read(folder.Path)).Message, "pytorch_lora_weights.safetensors");
        folder.File("adapter_config.json", """{"lora_alpha": 16}"""u8);
        using (var stream = File.Create(folder.File("adapter_model.safetensors")))
            Safetensors.Write(stream, Pair("base_model.model.a"), ScalarType.Float16);
        using var file = LoraFile.Read(folder.Path);
        Assert.AreEqual((16.0, ScalarType.Float32), (file.Pairs.Single().Alpha, file.Pairs.Single().Up.dtype));
    }

    [TestMethod]
    public void Match_UnknownKeys_AreListed()
    {
        using var text = new ClipTextModel(Text);
        var keys = new Dictionary<string, Tensor>(Pair("text_encoder." + TextLayer, 16, 16)) { ["something"] = ones(1), ["lora_unet_x.alpha"] = ones(1) };
        foreach (var (key, tensor) in Pair("lora_te2_text_model_encoder_layers_0_mlp_fc1").Concat(Pair("unet." + TextLayer)))
            keys.Add(key, tensor);
        var match = LoraMatch.Of(LoraFile.Of("x", keys), ("text_encoder", text.named_modules()));
        Assert.AreEqual("text_encoder." + TextLayer, match.Layers.Single().Name);
        CollectionAssert.AreEquivalent(keys.Keys.Where(key => !key.StartsWith("text_encoder.")).ToArray(), match.UnmatchedKeys.ToArray());
    }

    [TestMethod]
    public void Match_NoKey_IsAnErrorThatListsThem()
    {
        using var text = new ClipTextModel(Text);
        var thrown = Assert.ThrowsExactly<WeightMismatchException>(() => LoraMatch.Of(LoraFile.Of("my.safetensors", Pair("unet.a.b")), ("text_encoder", text.named_modules())));
        StringAssert.Contains(thrown.Message, "my.safetensors");
        StringAssert.Contains(thrown.Message, "2 unexpected: unet.a.b.lora_A.weight, unet.a.b.lora_B.weight");
    }

    [TestMethod]
    public void Match_OtherShape_NamesBoth()
    {
        using var text = new ClipTextModel(Text);
        var thrown = Assert.ThrowsExactly<WeightMismatchException>(
            () => LoraMatch.Of(LoraFile.Of("x", Pair("text_encoder." + TextLayer, 24, 16)), ("text_encoder", text.named_modules())));
        StringAssert.Contains(thrown.Message, "expected a change of [16, 16], found one of [16, 24]");
    }

    [TestMethod]
    public void Match_UnderscoresThatMayMeanTwoLayers_AreRefused()
    {
        using var a = nn.Linear(5, 3);
        using var b = nn.Linear(5, 3);
        StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(
            () => LoraMatch.Of(LoraFile.Of("x", Pair("lora_unet_to_out_0")), ("unet", [("to.out.0", a), ("to_out.0", b)]))).Message, "unet.to.out.0 or unet.to_out.0");
    }

    [TestMethod]
    [DataRow(UNetLayout.Serial, 0)]
    [DataRow(UNetLayout.StreamParallel, 1)]
    public void Match_KohyaNamesOfEveryLayer_FindItInEveryLayout(UNetLayout layout, int unlike)
    {
        using var unet = VideoUNet.Around(Tiny.Spatial(Tiny.UNet), Tiny.UNet with { Layout = layout });
        var keys = new Dictionary<string, Tensor>();
        int count = 0;
        foreach (var (name, module) in unet.Spatial.named_modules().Concat(unet.Temporal.named_modules()).Where(named => named.Item2 is TorchSharp.Modules.Linear or TorchSharp.Modules.Convolution))
        {
            long[] shape = LoraMatch.Weight(module).shape;
            keys.Add($"lora_unet_{name.Replace('.', '_')}.lora_down.weight", ones([2, .. shape[1..]]));
            keys.Add($"lora_unet_{name.Replace('.', '_')}.lora_up.weight", ones([shape[0], 2, .. shape[2..].Select(_ => 1L)]));
            count++;
        }
        var match = LoraMatch.Of(LoraFile.Of("x", keys), ("unet", unet.PublishedModules()));
        // In StreamParallel conv_out is the state fusion's, so that the fusion has no name of its own for it.
        Assert.AreEqual(count - unlike, match.Layers.Count);
        Assert.AreEqual(2 * unlike, match.UnmatchedKeys.Count);
    }

    private static readonly ClipTextConfig Text = new()
    {
        VocabSize = 10, HiddenSize = 16, IntermediateSize = 32, NumHiddenLayers = 1, NumAttentionHeads = 2, MaxPositionEmbeddings = 8,
    };

    private static Dictionary<string, Tensor> Pair(string layer, long inputs = 5, long outputs = 3) => layer.StartsWith("lora_")
        ? new() { [layer + ".lora_down.weight"] = ones(2, inputs), [layer + ".lora_up.weight"] = ones(outputs, 2) }
        : new() { [layer + ".lora_A.weight"] = ones(2, inputs), [layer + ".lora_B.weight"] = ones(outputs, 2) };
}
