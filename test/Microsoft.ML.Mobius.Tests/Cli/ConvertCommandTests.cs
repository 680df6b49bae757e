using Microsoft.ML.Mobius.Weights;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Cli;

[TestClass]
public sealed class ConvertCommandTests
{
    private readonly TinyPipeline _tiny = new();
    private readonly TempFolder _files = new();

    [TestInitialize]
    public void SaveModel()
    {
        using var model = _tiny.Untrained();
        _tiny.ML.Model.Save(model, _tiny.Prompts().Schema, _files.File("model.zip"));
    }

    [TestCleanup]
    public void RemoveFiles() => _files.Dispose();

    [TestMethod]
    public void Run_ZipToFolderAndBack_GivesTheSameVideos()
    {
        Assert.AreEqual("StreamParallel", $"{Convert("model.zip", "folder", "--json").Succeeded().Json["layout"]}");
        Convert("folder", "back.zip").Succeeded();
        using var first = Load("model.zip");
        using var last = Load("back.zip");
        TinyPipeline.AssertSame(first.Generate("a fox"), last.Generate("a fox", first.Generation));
    }

    [TestMethod]
    public void Run_ZipToSafetensorsToFolderToSafetensors_KeepsEveryWeight()
    {
        Convert("model.zip", "one.safetensors").Succeeded();
        Convert("one.safetensors", "folder").Succeeded();
        Convert("folder", "two.safetensors").Succeeded();
        CollectionAssert.AreEqual(File.ReadAllBytes(_files.File("one.safetensors")), File.ReadAllBytes(_files.File("two.safetensors")));
        Convert("two.safetensors", "back.zip").Succeeded();
        using var first = Load("model.zip");
        using var last = Load("back.zip");
        ModelFolders.AssertSame(first.Model, last.Model);
        var inspected = CommandRun.Of("inspect", _files.File("one.safetensors"), "--json").Succeeded().Json;
        Assert.AreEqual(first.ParameterCount, inspected["parameters"]!.GetValue<long>());
    }

    [TestMethod]
    public void Run_SafetensorsWithAPathOutOfTheFolder_IsRefused()
    {
        using (var stream = File.Create(_files.File("evil.safetensors")))
            Safetensors.Write(stream, [], metadata: new Dictionary<string, string> { ["model_index.json"] = "{}", ["../evil.txt"] = "x" });
        Convert("evil.safetensors", "folder").AssertFailed(1, "evil.safetensors", "'../evil.txt'");
        Assert.IsFalse(Directory.Exists(_files.File("folder")));
    }

    [TestMethod]
    public void Run_WithLoraIntoAFolder_MergesItIntoTheWeights()
    {
        string lora = LoraOfTheMidBlock();
        Convert("model.zip", "folder", "--lora", lora).Succeeded();
        Convert("folder", "back.zip").Succeeded();
        using var expected = Load("model.zip");
        using var styled = Load("back.zip");
        Assert.IsFalse(ModelFolders.AreSame(expected.Model, styled.Model));
        expected.ApplyLora(lora);
        ModelFolders.AssertSame(expected.Model, styled.Model);
    }

    [TestMethod]
    public void Run_FolderAroundABase_HoldsTheTemporalHalfAloneAndComesBackWhole()
    {
        using var folders = new ModelFolders();
        Convert(folders.Image(), "whole").Succeeded();
        Convert("whole", "around", "--base-model", folders.PathOf("image")).Succeeded();
        CollectionAssert.AreEqual(new[] { "temporal.safetensors" },
            Directory.GetFiles(_files.File("around"), "*.safetensors", SearchOption.AllDirectories).Select(Path.GetFileName).ToArray());
        Convert("around", "back.zip").Succeeded();
        Convert("whole", "whole.zip").Succeeded();
        using var first = Load("whole.zip");
        using var last = Load("back.zip");
        ModelFolders.AssertSame(first.Model, last.Model);
    }

    [TestMethod]
    public void Run_WithLora_MergesItAtItsScale()
    {
        string lora = LoraOfTheMidBlock();
        Convert("model.zip", "styled.zip", "--lora", $"{lora}=0.5").Succeeded();
        using var expected = Load("model.zip");
        expected.ApplyLora(lora, 0.5);
        using var styled = Load("styled.zip");
        Assert.AreEqual(0.5, styled.Loras.Single().Scale);
        TinyPipeline.AssertSame(expected.Generate("a fox"), styled.Generate("a fox"));
    }

    [TestMethod]
    public void Run_TargetThatCannotBe_IsRefusedAndLeft()
    {
        Convert("model.zip", "weights.ckpt").AssertFailed(2, "weights.ckpt", "a .safetensors file or a folder");
        LoraOfTheMidBlock();
        Convert("model.zip", "style.safetensors").AssertFailed(1, "style.safetensors", "left as it is");
        File.WriteAllText(_files.File("mine.zip"), "mine");
        Convert("model.zip", "mine.zip").AssertFailed(1, "mine.zip");
        Assert.AreEqual("mine", File.ReadAllText(_files.File("mine.zip")));
        Convert("model.zip", "other.zip", "--base-model", "x").AssertFailed(2, "--base-model");
    }

    private CommandRun Convert(string from, string to, params string[] options) => CommandRun.Of(["convert", _files.File(from), _files.File(to), .. options]);

    private string LoraOfTheMidBlock()
    {
        using var scope = NewDisposeScope();
        using var stream = File.Create(_files.File("style.safetensors"));
        const string Layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v";
        Safetensors.Write(stream, new Dictionary<string, Tensor> { [$"{Layer}.lora_A.weight"] = ones(2, 16), [$"{Layer}.lora_B.weight"] = ones(16, 2) });
        return _files.File("style.safetensors");
    }

    private TextToVideoTransformer Load(string name) => (TextToVideoTransformer)_tiny.ML.Model.Load(_files.File(name), out _);
}
