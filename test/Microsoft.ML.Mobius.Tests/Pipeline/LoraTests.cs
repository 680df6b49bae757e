using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Pipeline;

/// <summary>LoRAs and motion modules as options of the trainer and on a transformer.</summary>
[TestClass]
public sealed class LoraTests
{
    private readonly TinyPipeline _tiny = new();
    private readonly TempFolder _folder = new();

    [ClassInitialize]
    public static void Start(TestContext _) => TinyPipeline.UseOneThread();

    [ClassCleanup]
    public static void End() => TinyPipeline.UseUsualThreads();

    [TestCleanup]
    public void RemoveFiles() => _folder.Dispose();

    [TestMethod]
    [DataRow(UNetLayout.StreamParallel, false)]
    [DataRow(UNetLayout.StreamParallel, true)]
    [DataRow(UNetLayout.Serial, false)]
    [DataRow(UNetLayout.Serial, true)]
    public void ApplyLora_ThenRemove_ChangesVideosAndChangesThemBack(UNetLayout layout, bool live)
    {
        using var transformer = _tiny.Untrained(options => options.Layout = layout);
        var view = transformer.Transform(_tiny.Prompts("a"));
        var before = TinyPipeline.Videos(view).Single();

        var applied = transformer.ApplyLora(File(), 2, live);

        Assert.AreEqual(("a.safetensors", 2.0, live), (applied.File, applied.Scale, applied.Live));
        CollectionAssert.AreEqual(new[] { "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v", "text_encoder.text_model.encoder.layers.0.mlp.fc1" }, applied.Layers.ToArray());
        CollectionAssert.AreEqual(new[] { "unet.nothing.lora_A.weight", "unet.nothing.lora_B.weight" }, applied.UnmatchedKeys.ToArray());
        Assert.AreEqual(applied, transformer.Loras.Single());
        TinyPipeline.AssertOther(before, TinyPipeline.Videos(view).Single());

        transformer.RemoveLoras();
        Assert.IsEmpty(transformer.Loras);
        TinyPipeline.AssertSame(before, TinyPipeline.Videos(view).Single());
    }

    [TestMethod]
    public void Save_MergedLora_IsInTheFileByName()
    {
        using var transformer = _tiny.Untrained();
        transformer.ApplyLora(File(), 2);
        string zip = _folder.File("model.zip");
        _tiny.ML.Model.Save(transformer, null, zip);

        using var loaded = (TextToVideoTransformer)_tiny.ML.Model.Load(zip, out _);

        var found = loaded.Loras.Single();
        Assert.AreEqual(("a.safetensors", 2.0, false, 2, 2), (found.File, found.Scale, found.Live, found.Layers.Count, found.UnmatchedKeys.Count));
        TinyPipeline.AssertSame(TinyPipeline.Videos(transformer.Transform(_tiny.Prompts("a"))).Single(), TinyPipeline.Videos(loaded.Transform(_tiny.Prompts("a"))).Single());
        loaded.RemoveLoras();
        Assert.HasCount(1, loaded.Loras);
    }

    [TestMethod]
    public void Save_LiveLora_IsRefused()
    {
        using var transformer = _tiny.Untrained();
        transformer.ApplyLora(File(), live: true);
        string zip = _folder.File("model.zip");
        StringAssert.Contains(Assert.Throws<InvalidOperationException>(() => _tiny.ML.Model.Save(transformer, null, zip)).Message, "a.safetensors acts live");
    }

    [TestMethod]
    public void ApplyLora_OfAnotherModel_ChangesNothing()
    {
        using var transformer = _tiny.Untrained();
        var before = TinyPipeline.Videos(transformer.Transform(_tiny.Prompts("a"))).Single();
        string other = File(width: 20);
        Assert.ThrowsExactly<WeightMismatchException>(() => transformer.ApplyLora(other));
        Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => transformer.ApplyLora(other, double.NaN));
        TinyPipeline.AssertSame(before, TinyPipeline.Videos(transformer.Transform(_tiny.Prompts("a"))).Single());
    }

    [TestMethod]
    public void Fit_WithLoras_StartsFromTheMergedModel()
    {
        using var plain = _tiny.Untrained();
        plain.ApplyLora(File(), 2);
        using var fitted = _tiny.Untrained(options => options.Loras = [new LoraSource(File(), 2)]);

        TinyPipeline.AssertSame(TinyPipeline.Videos(plain.Transform(_tiny.Prompts("a"))).Single(), TinyPipeline.Videos(fitted.Transform(_tiny.Prompts("a"))).Single());
        Assert.AreEqual(2, fitted.Loras.Single().Scale);
        Assert.IsTrue(_tiny.Logged("Warning", "unet.nothing.lora_A.weight"));
        fitted.RemoveLoras();
        Assert.HasCount(1, fitted.Loras);
    }

    [TestMethod]
    public void Fit_MotionModules_TrainsAndSavesThem()
    {
        var image = TinyModel.Image().UNetConfig;
        using var temporal = new TemporalStream(image with { Layout = UNetLayout.Serial, Motion = new MotionConfig { NormNumGroups = 2, Heads = 2, FrameLimit = 4 } });
        _folder.File("config.json", """{"_class_name": "MotionAdapter", "motion_num_attention_heads": 2, "motion_norm_num_groups": 2}"""u8);
        using (var stream = System.IO.File.Create(_folder.File("diffusion_pytorch_model.safetensors")))
            Safetensors.Write(stream, StateDict.Of(temporal).Select(pair => KeyValuePair.Create(pair.Key.Replace("temp_attentions", "motion_modules"), pair.Value)).ToList());

        using var fitted = _tiny.Trainer(options => (options.Layout, options.MotionModulePath) = (UNetLayout.Serial, _folder.Path)).Fit(_tiny.Clips());
        string zip = _folder.File("model.zip");
        _tiny.ML.Model.Save(fitted, null, zip);
        using var loaded = (TextToVideoTransformer)_tiny.ML.Model.Load(zip, out _);

        Assert.AreEqual(temporal.parameters().Sum(p => p.numel()), fitted.TrainedParameterCount);
        TinyPipeline.AssertSame(TinyPipeline.Videos(fitted.Transform(_tiny.Prompts("a"))).Single(), TinyPipeline.Videos(loaded.Transform(_tiny.Prompts("a"))).Single());
        var tooLong = Assert.Throws<ArgumentException>(() => _tiny.Untrained(options => (options.Layout, options.MotionModulePath, options.FrameCount) = (UNetLayout.Serial, _folder.Path, 5)));
        StringAssert.Contains(tooLong.Message, "4 frames, not for 5");
    }

    [TestMethod]
    public void Constructor_BadLorasAndMotionModules_AreNamed()
    {
        string message = Assert.ThrowsExactly<ArgumentException>(() => _tiny.Trainer(options =>
        {
            options.Loras = [new LoraSource(" ", double.PositiveInfinity)];
            options.MotionModulePath = "m";
        })).Message;
        StringAssert.Contains(message, "scale Infinity");
        StringAssert.Contains(message, "MotionModulePath needs the Serial layout, but Layout is StreamParallel.");
    }

    private string File(long width = 16)
    {
        random.manual_seed(4);
        using var scope = NewDisposeScope();
        using var stream = System.IO.File.Create(_folder.File("a.safetensors"));
        Safetensors.Write(stream, new Dictionary<string, Tensor>
        {
            ["unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v.lora_A.weight"] = randn(2, width),
            ["unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v.lora_B.weight"] = randn(16, 2),
            ["text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_A.weight"] = randn(2, width),
            ["text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_B.weight"] = randn(32, 2),
            ["unet.nothing.lora_A.weight"] = randn(2, 3),
            ["unet.nothing.lora_B.weight"] = randn(3, 2),
        });
        return _folder.File("a.safetensors");
    }
}
