using Microsoft.ML.Mobius.Layers;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.UNet;

[TestClass]
public sealed class MotionModulesTests
{
    [TestMethod]
    [DataRow("module.")]
    [DataRow("")]
    public void Open_FileOfAnimateDiff_GivesTheSameWeights(string prefix)
    {
        using var folder = new TempFolder();
        var config = Tiny.UNet with { Layout = UNetLayout.Serial, Motion = new MotionConfig { Heads = 8, NormNumGroups = 4, FrameLimit = 24, Middle = false } };
        using var from = new TemporalStream(config);
        using var to = new TemporalStream(config);
        Randomise(from);
        using (var scope = NewDisposeScope())
        using (var stream = File.Create(folder.File("mm_sd_v15.safetensors")))
            Safetensors.Write(stream, Original(from, prefix));

        using var modules = MotionModules.Open(folder.File("mm_sd_v15.safetensors"), new MotionConfig { NormNumGroups = 4 });

        Assert.AreEqual(config.Motion, modules.Config);
        modules.LoadInto(to);
        foreach (var (key, tensor) in from.state_dict())
            Close.Assert(tensor, to.state_dict()[key], 0, key);
    }

    [TestMethod]
    public void LoadInto_TwoTablesOfPlaces_IsRefused()
    {
        using var folder = new TempFolder();
        var config = Tiny.UNet with { Layout = UNetLayout.Serial, Motion = new MotionConfig { NormNumGroups = 4 } };
        using var temporal = new TemporalStream(config);
        using (var scope = NewDisposeScope())
        using (var stream = File.Create(folder.File("mm.safetensors")))
            Safetensors.Write(stream, Original(temporal, "").Select((pair, i) => pair.Key.EndsWith("1.pos_encoder.pe") ? KeyValuePair.Create(pair.Key, pair.Value + 1) : pair).ToList());
        using var modules = MotionModules.Open(folder.File("mm.safetensors"));
        StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(() => modules.LoadInto(temporal)).Message, "attention_blocks.1.pos_encoder.pe");
    }

    [TestMethod]
    public void LoadInto_AnotherModelsModules_ListsWhatDiffers()
    {
        using var folder = new TempFolder();
        var motion = new MotionConfig { NormNumGroups = 4 };
        using var other = new TemporalStream(Tiny.UNet with { Layout = UNetLayout.Serial, LayersPerBlock = 2, Motion = motion });
        using var temporal = new TemporalStream(Tiny.UNet with { Layout = UNetLayout.Serial, Motion = motion });
        using (var stream = File.Create(folder.File("diffusion_pytorch_model.safetensors")))
            Safetensors.Write(stream, StateDict.Of(other).Select(pair => KeyValuePair.Create(pair.Key.Replace("temp_attentions", "motion_modules"), pair.Value)).ToList());
        using var modules = MotionModules.Open(folder.Path);
        var thrown = Assert.ThrowsExactly<WeightMismatchException>(() => modules.LoadInto(temporal));
        StringAssert.Contains(thrown.Message, "unexpected: down_blocks.0.motion_modules.1.norm.weight");
    }

    [TestMethod]
    public void Open_Folder_ReadsItsConfiguration()
    {
        using var folder = new TempFolder();
        folder.File("config.json", """{"_class_name": "MotionAdapter", "motion_num_attention_heads": 4, "motion_norm_num_groups": 2, "motion_max_seq_length": 99}"""u8);
        using (var scope = NewDisposeScope())
        using (var stream = File.Create(folder.File("diffusion_pytorch_model.safetensors")))
            Safetensors.Write(stream, new Dictionary<string, Tensor> { ["mid_block.motion_modules.0.transformer_blocks.0.pos_embed.pe"] = zeros(1, 24, 8) });
        using var modules = MotionModules.Open(folder.Path);
        Assert.AreEqual(new MotionConfig { Heads = 4, NormNumGroups = 2, FrameLimit = 24, Middle = true }, modules.Config);
    }

    [TestMethod]
    public void Open_SomethingElse_IsRefused()
    {
        using var folder = new TempFolder();
        StringAssert.Contains(Assert.ThrowsExactly<FileNotFoundException>(() => MotionModules.Open(folder.Path)).Message, "diffusion_pytorch_model.safetensors");
        using (var scope = NewDisposeScope())
        using (var stream = File.Create(folder.File("a.safetensors")))
            Safetensors.Write(stream, new Dictionary<string, Tensor> { ["conv_in.weight"] = zeros(1) });
        StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(() => MotionModules.Open(folder.File("a.safetensors"))).Message, "no motion modules");
    }

    [TestMethod]
    public void Forward_AtTheStart_IsTheImageModel()
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var spatial = Tiny.Spatial(Tiny.UNet);
        using var unet = VideoUNet.Around(spatial, Tiny.UNet with { Layout = UNetLayout.Serial, TemporalText = true, FramePositions = true, Motion = new MotionConfig { NormNumGroups = 4 } });
        var (z, text) = (randn([1, 4, 3, 8, 8]), randn([1, 5, 16]));
        var expected = spatial.call(Axes.FramesToBatch(z), full([3], 400, ScalarType.Int64), text);
        Close.Assert(Axes.BatchToFrames(expected, 3), unet.call(z, full([1], 400, ScalarType.Int64), text), 0);
    }

    [TestMethod]
    public void Forward_MoreFramesThanPlaces_IsRefused()
    {
        using var scope = NewDisposeScope();
        using var table = new FrameTable(4, 2);
        StringAssert.Contains(Assert.ThrowsExactly<ArgumentException>(() => table.call(zeros(1, 3, 4))).Message, "2 frames, not for 3");
        Close.Assert(tensor(new float[] { 0, 1, 0, 1, MathF.Sin(1), MathF.Cos(1), MathF.Sin(0.01f), MathF.Cos(0.01f) }).reshape(1, 2, 4), table.call(zeros(1, 2, 4)), 1e-6);
    }

    [TestMethod]
    public void Constructor_OtherLayout_IsRefused()
        => StringAssert.Contains(Assert.ThrowsExactly<ArgumentException>(() => new TemporalStream(Tiny.UNet with { Motion = new MotionConfig() })).Message, "Serial");

    /// <summary>AnimateDiff's own names.</summary>
    private static List<KeyValuePair<string, Tensor>> Original(TemporalStream temporal, string prefix)
    {
        var named = new List<KeyValuePair<string, Tensor>>();
        foreach (var (key, tensor) in StateDict.Of(temporal))
        {
            string name = prefix + string.Join('.', key.Split('.').Select((part, i) => part == "temp_attentions" ? "motion_modules" : part));
            int at = name.IndexOf('.', name.IndexOf("motion_modules.") + "motion_modules.".Length);
            name = (name[..at] + ".temporal_transformer" + name[at..]).Replace(".attn1.", ".attention_blocks.0.").Replace(".attn2.", ".attention_blocks.1.")
                .Replace(".norm1.", ".norms.0.").Replace(".norm2.", ".norms.1.").Replace(".norm3.", ".ff_norm.");
            if (name.EndsWith(".pos_embed.pe"))
                named.AddRange(from block in new[] { 0, 1 } select KeyValuePair.Create(name.Replace(".pos_embed.pe", $".attention_blocks.{block}.pos_encoder.pe"), tensor));
            else
                named.Add(KeyValuePair.Create(name, tensor));
        }
        return named;
    }

    private static void Randomise(nn.Module module)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        foreach (var tensor in module.state_dict().Values)
            tensor.add_(randn_like(tensor));
    }
}
