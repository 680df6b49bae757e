using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.UNet;

namespace Microsoft.ML.Mobius.Tests.Cli;

[TestClass]
public sealed class InspectCommandTests
{
    private readonly TinyPipeline _tiny = new();
    private readonly TempFolder _files = new();

    [TestCleanup]
    public void RemoveFiles() => _files.Dispose();

    [TestMethod]
    public void Run_SavedModel_TellsPartsOptionsAndHistory()
    {
        using var model = _tiny.Trainer(options => options.CheckpointFolder = _files.File("checkpoints")).Fit(_tiny.Clips());
        _tiny.ML.Model.Save(model, null, _files.File("model.zip"));

        var found = Inspect("model.zip");

        Assert.AreEqual("StreamParallel", $"{found["layout"]}");
        Assert.AreEqual(model.ParameterCount, found["parameters"]!.GetValue<long>());
        Assert.AreEqual(model.ParameterCount, found["parts"]!.AsArray().Sum(part => part!["parameters"]!.GetValue<long>()));
        Assert.AreEqual(model.TrainedParameterCount, found["parts"]![3]!["parameters"]!.GetValue<long>());
        Assert.AreEqual("float32", $"{found["parts"]![0]!["type"]}");
        Assert.AreEqual(TinyPipeline.Frames, found["generation"]!["frames"]!.GetValue<int>());
        Assert.AreEqual(2, found["training"]!["steps"]!.GetValue<int>());
        Assert.AreEqual(model.History.HeldOut[^1].Loss, found["training"]!["lastHeldOutLoss"]!.GetValue<double>());

        var checkpoints = Inspect("checkpoints");
        Assert.AreEqual(2, checkpoints["checkpoints"]![0]!["step"]!.GetValue<int>());
        Assert.IsTrue(checkpoints["checkpoints"]![0]!["ofTheSizesWritten"]!.GetValue<bool>());
        Assert.AreEqual("2", $"{checkpoints["run"]!["Steps"]}");

        File.WriteAllText(_files.File("checkpoints/step-00000002/weights.safetensors"), "cut");
        Assert.IsFalse(Inspect("checkpoints")["checkpoints"]![0]!["ofTheSizesWritten"]!.GetValue<bool>());
    }

    [TestMethod]
    public void Run_ModelFolders_TellsPartsTypesAndLayout()
    {
        using var folders = new ModelFolders();
        var image = CommandRun.Of("inspect", folders.Image(), "--json").Succeeded().Json;
        Assert.Contains("text-to-image", $"{image["kind"]}");
        Assert.IsNull(image["layout"]);
        Assert.IsTrue(image["parts"]!.AsArray().All(part => $"{part!["type"]}" == "float16"));
        Assert.HasCount(3, image["parts"]!.AsArray());

        var video = CommandRun.Of("inspect", folders.Video(), "--json").Succeeded().Json;
        Assert.Contains("text-to-video", $"{video["kind"]}");
        Assert.AreEqual($"{UNetLayout.Serial}", $"{video["layout"]}");
        Assert.AreEqual(3, video["frames"]!.GetValue<int>());
        Assert.AreEqual(16, video["side"]!.GetValue<int>());
        Assert.HasCount(4, video["parts"]!.AsArray());

        var weights = CommandRun.Of("inspect", Path.Combine(folders.PathOf("image"), "unet", "diffusion_pytorch_model.safetensors"), "--json").Succeeded().Json;
        Assert.AreEqual(image["parts"]![2]!["parameters"]!.GetValue<long>(), weights["parameters"]!.GetValue<long>());
        Assert.AreEqual("float16", $"{weights["types"]}");
    }

    [TestMethod]
    public void Run_AsText_TellsTheSameWithoutEscapes()
    {
        using var folders = new ModelFolders();
        string output = CommandRun.Of("inspect", folders.Video()).Succeeded().Output;
        foreach (string part in new[] { "text encoder", "temporal", "float32", "layout", "Serial" })
            Assert.Contains(part, output);
        Assert.DoesNotContain("\u001b", output);
        Assert.IsFalse(output.Split('\n').Any(line => line.EndsWith(' ')));
    }

    [TestMethod]
    public void Run_FileThatIsNone_SaysWhich()
    {
        File.WriteAllText(_files.File("text.txt"), "hello");
        CommandRun.Of("inspect", _files.File("text.txt")).AssertFailed(1, "text.txt");
    }

    private JsonObject Inspect(string name) => CommandRun.Of("inspect", _files.File(name), "--json").Succeeded().Json;
}
