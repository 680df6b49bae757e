using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.UNet;

namespace Microsoft.ML.Mobius.Tests.UNet;

[TestClass]
public sealed class UNetConfigTests
{
    [TestMethod]
    public void Json_WrittenAndRead_IsTheSame()
    {
        var config = Tiny.UNet with { TemporalWidthDivisor = 4, Lateral = Lateral.Identity, Layout = UNetLayout.LayerParallel };
        var read = JsonSerializer.Deserialize<UNetConfig>(JsonSerializer.Serialize(config))!;
        Assert.AreEqual(JsonSerializer.Serialize(config), JsonSerializer.Serialize(read));
        Assert.AreEqual(UNetLayout.LayerParallel, read.Layout);
    }

    [TestMethod]
    public void Json_UnknownKeys_AreKept()
    {
        const string Json = """
            {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.6.0", "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"],
            "block_out_channels": [32], "attention_head_dim": [4], "upcast_attention": true, "sample_size": null, "flavour": {"of": ["tea"]}}
            """;
        var config = JsonSerializer.Deserialize<UNetConfig>(Json)!;
        config.Validate();
        var written = JsonNode.Parse(JsonSerializer.Serialize(config))!.AsObject();
        foreach (var (key, value) in JsonNode.Parse(Json)!.AsObject())
            Assert.IsTrue(JsonNode.DeepEquals(value, written[key]), key);
    }

    [TestMethod]
    public void Heads_OfBothClasses_CountAsDiffusersDoes()
    {
        var wide = Tiny.UNet with { AttentionHeadDim = new[] { 2, 16 } };
        CollectionAssert.AreEqual(new[] { 4, 4 }, Heads(Tiny.UNet));
        CollectionAssert.AreEqual(new[] { 2, 16 }, Heads(wide));
        CollectionAssert.AreEqual(new[] { 4, 8 }, Heads(Tiny.UNet with { ClassName = "UNet3DConditionModel" }));
        CollectionAssert.AreEqual(new[] { 8, 2 }, Heads(wide with { ClassName = "UNet3DConditionModel" }));
        CollectionAssert.AreEqual(new[] { 8, 8 }, Heads(Tiny.UNet with { ClassName = "UNet3DConditionModel", NumAttentionHeads = 8 }));

        static int[] Heads(UNetConfig config) => [config.Heads(0), config.Heads(1)];
    }

    [TestMethod]
    [DataRow("UNet3DConditionModel", "0.18.2", 32)]
    [DataRow("UNet3DConditionModel", "0.15.0.dev0", 32)]
    [DataRow("UNet3DConditionModel", "0.25.1", 4)]
    [DataRow("UNet3DConditionModel", null, 4)]
    [DataRow("UNet2DConditionModel", "0.6.0", 4)]
    public void TemporalNormGroups_OldFiles_AreThoseOfTheirCode(string kind, string? version, int groups)
        => Assert.AreEqual(groups, (Tiny.UNet with { ClassName = kind, DiffusersVersion = version }).TemporalNormGroups);

    [TestMethod]
    [DataRow("""{"down_block_types": ["CrossAttnDownBlock2D", "AttnDownBlock2D"]}""", "down_block_types[1] is 'AttnDownBlock2D'; known are DownBlock2D, CrossAttn")]
    [DataRow("""{"up_block_types": ["UpBlock2D", "SkipUpBlock2D"]}""", "up_block_types[1] is 'SkipUpBlock2D'; known are UpBlock2D, CrossAttn")]
    [DataRow("""{"up_block_types": ["UpBlock2D"]}""", "equally many")]
    [DataRow("""{"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"}""", "mid_block_type is \"UNetMidBlock2DSimpleCrossAttn\"")]
    [DataRow("""{"attention_head_dim": [4, 4, 4]}""", "attention_head_dim is a list of 3, but the U-Net has 2 levels")]
    [DataRow("""{"attention_head_dim": [4, 5]}""", "attention_head_dim of level 1 is 5, which does not divide its 32 channels")]
    [DataRow("""{"attention_head_dim": [4, 0]}""", "attention_head_dim[1] is 0")]
    [DataRow("""{"norm_num_groups": 3}""", "block_out_channels[0] is 16, which norm_num_groups 3 does not divide")]
    [DataRow("""{"block_out_channels": [16, 2000000000]}""", "block_out_channels[1] is 2000000000")]
    [DataRow("""{"layers_per_block": -1}""", "layers_per_block is -1")]
    [DataRow("""{"attention_head_dim": null}""", "attention_head_dim is null")]
    [DataRow("""{"down_block_types": null}""", "down_block_types is null")]
    [DataRow("""{"up_block_types": ["UpBlock2D", null]}""", "up_block_types[1] is ''")]
    [DataRow("""{"act_fn": "gelu"}""", "act_fn is \"gelu\"; only \"silu\"")]
    [DataRow("""{"transformer_layers_per_block": [1, 2]}""", "transformer_layers_per_block is [1,2]; only 1")]
    [DataRow("""{"class_embed_type": "timestep"}""", "class_embed_type")]
    [DataRow("""{"mobius_temporal_inner": 16}""", "mobius_temporal_inner is 16; expected 1 to 32, and the Serial layout")]
    [DataRow("""{"mobius_temporal_inner": 33, "mobius_layout": 0}""", "mobius_temporal_inner is 33")]
    public void Validate_WhatCannotBeBuilt_NamesTheKey(string change, string expected)
    {
        var json = JsonNode.Parse(JsonSerializer.Serialize(Tiny.UNet))!.AsObject();
        foreach (var (key, value) in JsonNode.Parse(change)!.AsObject())
            json[key] = value?.DeepClone();
        var config = json.Deserialize<UNetConfig>()!;
        StringAssert.Contains(Assert.ThrowsExactly<ArgumentException>(config.Validate).Message, expected);
    }

    [TestMethod]
    public void Validate_KeysThatChangeNothing_ArePassed() => (Tiny.UNet with
    {
        Other = JsonSerializer.Deserialize<Dictionary<string, JsonElement>>(
            """{"act_fn": "silu", "resnet_out_scale_factor": 1.0, "only_cross_attention": [false, false], "mid_block_only_cross_attention": null}""")!,
    }).Validate();
}
