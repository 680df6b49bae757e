using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Text;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Models;

/// <summary>One file with a Stable Diffusion 1.x. The names below are written out from the published file's, not from the product's tables.</summary>
[TestClass]
public sealed class LdmCheckpointTests
{
    private static readonly string[] s_tensors = ["weight", "bias"];

    // The structure of Stable Diffusion 1.x at a tenth of its width.
    private static readonly UNetConfig s_unet = new()
    {
        DownBlockTypes = ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        UpBlockTypes = ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        BlockOutChannels = [32, 64, 96, 96], LayersPerBlock = 2, CrossAttentionDim = 64, AttentionHeadDim = 8, SampleSize = 64,
    };

    private static readonly AutoencoderKlConfig s_vae = new() { BlockOutChannels = [32, 64, 96, 96], LayersPerBlock = 2 };

    private readonly ModelFolders _folders = new();

    [TestCleanup]
    public void RemoveFolders() => _folders.Dispose();

    [TestMethod]
    public void UNetNames_OfThePublishedFile_AreOursOneByOne()
    {
        var names = LdmNames.UNet(s_unet);
        using var unet = new SpatialStream(s_unet);
        string[] published = [.. UNetNames()];
        Assert.HasCount(686, published);
        CollectionAssert.AreEquivalent(unet.state_dict().Keys.ToArray(), published.Select(names.Ours).ToArray());
        Assert.AreEqual("down_blocks.1.resnets.0.conv_shortcut.weight", names.Ours("input_blocks.4.0.skip_connection.weight"));
        Assert.AreEqual("up_blocks.0.upsamplers.0.conv.bias", names.Ours("output_blocks.2.1.conv.bias"));
        Assert.AreEqual("up_blocks.1.upsamplers.0.conv.bias", names.Ours("output_blocks.5.2.conv.bias"));
        Assert.AreEqual("up_blocks.3.attentions.2.transformer_blocks.0.ff.net.0.proj.bias", names.Ours("output_blocks.11.1.transformer_blocks.0.ff.net.0.proj.bias"));
        Assert.AreEqual("unknown.3.weight", names.Ours("unknown.3.weight"));
    }

    [TestMethod]
    public void AutoencoderNames_OfThePublishedFile_AreOursOneByOne()
    {
        var names = LdmNames.Autoencoder(s_vae);
        using var vae = new AutoencoderKl(s_vae);
        string[] published = [.. AutoencoderNames()];
        Assert.HasCount(248, published);
        CollectionAssert.AreEquivalent(vae.state_dict().Keys.ToArray(), published.Select(names.Ours).ToArray());
        Assert.AreEqual("decoder.up_blocks.0.resnets.2.norm1.weight", names.Ours("decoder.up.3.block.2.norm1.weight"));
        Assert.AreEqual("encoder.mid_block.attentions.0.to_out.0.bias", names.Ours("encoder.mid.attn_1.proj_out.bias"));
    }

    [TestMethod]
    public void Open_OneFile_HasTheWeightsAndWidthsOfTheModel()
    {
        using var text = new ClipTextModel(TextConfig);
        using var vae = new AutoencoderKl(s_vae);
        using var unet = Tiny.Spatial(s_unet);
        string file = Write(text, vae, unet);
        Tiny.Tokenizer().Save(_folders.PathOf("tokenizer"));

        using var model = ModelFolders.Open(file);

        ModelFolders.AssertSame(text, model.TextEncoder);
        ModelFolders.AssertSame(vae, model.Autoencoder);
        ModelFolders.AssertSame(unet, model.UNet.Spatial);
        Assert.AreEqual(ClipTokenizer.EndOfText, model.Tokenizer.PadToken);
        Assert.AreEqual((8, 768, 8), (model.UNet.Config.Heads(3), model.UNet.Config.SampleSize!.Value * 12, model.Factor));
        Assert.AreEqual(new TensorCount(2, 4), model.Loaded.Single(part => part.Name == "other").LeftOut);
        Assert.AreEqual(new TensorCount(1, 77), model.Loaded.Single(part => part.Name == "text_encoder").LeftOut);
    }

    [TestMethod]
    public void Open_NoTokenizer_SaysHowToGiveOne()
    {
        using var text = new ClipTextModel(TextConfig);
        using var vae = new AutoencoderKl(s_vae);
        using var unet = new SpatialStream(s_unet);
        string file = Write(text, vae, unet);
        Assert.Contains("TokenizerPath", Assert.ThrowsExactly<FileNotFoundException>(() => ModelSource.Open(file)).Message);
        Tiny.Tokenizer().Save(_folders.PathOf("vocabulary"));
        Assert.AreEqual(514, ModelSource.Open(file, _folders.PathOf("vocabulary")).Tokenizer().VocabularySize);
    }

    [TestMethod]
    [DataRow("cond_stage_model.model.ln_final.weight", "2.x")]
    [DataRow("conditioner.embedders.0.weight", "XL")]
    [DataRow("lora_unet_x.lora_up.weight", "model.diffusion_model.*")]
    public void Open_AnotherKindOfFile_SaysWhichItIs(string tensor, string named)
    {
        using var scope = NewDisposeScope();
        string file = _folders.PathOf("model.safetensors");
        using (var stream = File.Create(file))
            Safetensors.Write(stream, [KeyValuePair.Create(tensor, zeros(1))]);
        string message = Assert.ThrowsExactly<InvalidDataException>(() => ModelSource.Open(file)).Message;
        Assert.Contains("model.safetensors", message);
        Assert.Contains(named, message);
    }

    private static ClipTextConfig TextConfig => new() { VocabSize = 514, HiddenSize = 64, IntermediateSize = 96, NumHiddenLayers = 2, NumAttentionHeads = 1 };

    private string Write(ClipTextModel text, AutoencoderKl vae, SpatialStream unet)
    {
        using var scope = NewDisposeScope();
        // In the published file attention of the autoencoder is made of convolutions, too.
        var weights = text.state_dict().Select(pair => KeyValuePair.Create("cond_stage_model.transformer." + pair.Key, pair.Value))
            .Concat(Theirs("first_stage_model.", vae, LdmNames.Autoencoder(s_vae), AutoencoderNames()).Select(pair => KeyValuePair.Create(pair.Key,
                pair.Key.Contains(".attn_1.") && pair.Value.dim() == 2 ? pair.Value.unsqueeze(-1).unsqueeze(-1) : pair.Value)))
            .Concat(Theirs("model.diffusion_model.", unet, LdmNames.UNet(s_unet), UNetNames()))
            .Append(KeyValuePair.Create("cond_stage_model.transformer.text_model.embeddings.position_ids", arange(77).unsqueeze(0)))
            .Append(KeyValuePair.Create("betas", zeros(3))).Append(KeyValuePair.Create("model_ema.decay", ones(1)));
        string file = _folders.PathOf("model.safetensors");
        using var stream = File.Create(file);
        Safetensors.Write(stream, weights);
        return file;
    }

    private static IEnumerable<KeyValuePair<string, Tensor>> Theirs(string prefix, nn.Module module, LdmNames names, IEnumerable<string> published)
    {
        var weights = module.state_dict();
        return published.Select(name => KeyValuePair.Create(prefix + name, weights[names.Ours(name)]));
    }

    private static IEnumerable<string> UNetNames()
    {
        string[] attends = ["input_blocks.1", "input_blocks.2", "input_blocks.4", "input_blocks.5", "input_blocks.7", "input_blocks.8",
            .. Enumerable.Range(3, 9).Select(i => $"output_blocks.{i}")];
        string[] shortcuts = ["input_blocks.4.0", "input_blocks.7.0", .. Enumerable.Range(0, 12).Select(i => $"output_blocks.{i}.0")];
        string[] resnets = [.. new[] { 1, 2, 4, 5, 7, 8, 10, 11 }.Select(i => $"input_blocks.{i}.0"), "middle_block.0", "middle_block.2",
            .. Enumerable.Range(0, 12).Select(i => $"output_blocks.{i}.0")];
        string[] layers = ["time_embed.0", "time_embed.2", "input_blocks.0.0", "out.0", "out.2", "input_blocks.3.0.op", "input_blocks.6.0.op", "input_blocks.9.0.op",
            "output_blocks.2.1.conv", "output_blocks.5.2.conv", "output_blocks.8.2.conv",
            .. resnets.SelectMany(r => new[] { "in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3" }.Select(layer => $"{r}.{layer}")),
            .. shortcuts.Select(r => $"{r}.skip_connection"),
            .. attends.Select(block => $"{block}.1").Append("middle_block.1").SelectMany(a => new[]
            {
                "norm", "proj_in", "proj_out", "transformer_blocks.0.norm1", "transformer_blocks.0.norm2", "transformer_blocks.0.norm3",
                "transformer_blocks.0.attn1.to_out.0", "transformer_blocks.0.attn2.to_out.0", "transformer_blocks.0.ff.net.0.proj", "transformer_blocks.0.ff.net.2",
            }.Select(layer => $"{a}.{layer}"))];
        return layers.SelectMany(layer => s_tensors.Select(tensor => $"{layer}.{tensor}"))
            .Concat(attends.Select(block => $"{block}.1").Append("middle_block.1").SelectMany(a =>
                from attention in new[] { 1, 2 } from projection in "qkv" select $"{a}.transformer_blocks.0.attn{attention}.to_{projection}.weight"));
    }

    private static IEnumerable<string> AutoencoderNames()
    {
        string[] resnets = [
            .. from k in Enumerable.Range(0, 4) from i in Enumerable.Range(0, 2) select $"encoder.down.{k}.block.{i}",
            .. from k in Enumerable.Range(0, 4) from i in Enumerable.Range(0, 3) select $"decoder.up.{k}.block.{i}",
            "encoder.mid.block_1", "encoder.mid.block_2", "decoder.mid.block_1", "decoder.mid.block_2"];
        string[] layers = ["quant_conv", "post_quant_conv",
            .. from half in new[] { "encoder", "decoder" } from layer in new[] { "conv_in", "norm_out", "conv_out" } select $"{half}.{layer}",
            .. from half in new[] { "encoder", "decoder" } from layer in new[] { "norm", "q", "k", "v", "proj_out" } select $"{half}.mid.attn_1.{layer}",
            .. from resnet in resnets from layer in new[] { "norm1", "conv1", "norm2", "conv2" } select $"{resnet}.{layer}",
            "encoder.down.1.block.0.nin_shortcut", "encoder.down.2.block.0.nin_shortcut", "decoder.up.0.block.0.nin_shortcut", "decoder.up.1.block.0.nin_shortcut",
            "encoder.down.0.downsample.conv", "encoder.down.1.downsample.conv", "encoder.down.2.downsample.conv",
            "decoder.up.1.upsample.conv", "decoder.up.2.upsample.conv", "decoder.up.3.upsample.conv"];
        return layers.SelectMany(layer => s_tensors.Select(tensor => $"{layer}.{tensor}"));
    }
}
