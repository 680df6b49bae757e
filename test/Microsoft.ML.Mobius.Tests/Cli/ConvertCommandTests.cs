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
        Convert("model.zip", "weights.safetensors").AssertFailed(2, "weights.safetensors", ".zip or as a folder");
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
