using System.Text.Json.Nodes;

namespace Microsoft.ML.Mobius.Tests.Cli;

[TestClass]
public sealed class BenchCommandTests
{
    private readonly ModelFolders _models = new();

    [TestCleanup]
    public void RemoveFiles() => _models.Dispose();

    [TestMethod]
    public void Run_Folder_TellsCostOfGeneratingAndTraining()
    {
        var found = Bench("--model", _models.Video(), "--batch-size", "2", "--count", "2", "--frames", "4").Succeeded().Json;

        var (generating, training) = (found["generating"]!, found["training"]!);
        Assert.AreEqual((4, 16, 16), Size(generating));
        Assert.AreEqual((4, 16, 16), Size(training));
        Assert.AreEqual(2, training["batchSize"]!.GetValue<int>());
        Assert.AreEqual(Value(generating, "frames") / Value(generating, "secondsPerVideo"), Value(generating, "framesPerSecond"), 0.01);
        Assert.IsGreaterThanOrEqualTo(Value(generating, "denoisingSteps") * Value(generating, "secondsPerStep") - 0.01, Value(generating, "secondsPerVideo"));
        foreach (var part in new[] { generating, training })
            foreach (string name in new[] { "secondsPerStep", "cpuSecondsPerStep", "peakMebibytes" })
                Assert.IsGreaterThan(0, Value(part, name), name);
        Assert.IsGreaterThan(0, Value(training, "estimatedMebibytes"));

        static double Value(JsonNode part, string name) => part[name]!.GetValue<double>();

        static (int, int, int) Size(JsonNode part) => (part["frames"]!.GetValue<int>(), part["width"]!.GetValue<int>(), part["height"]!.GetValue<int>());
    }

    [TestMethod]
    public void Run_SavedModel_TellsGeneratingAlone()
    {
        var tiny = new TinyPipeline();
        using (var model = tiny.Untrained())
            tiny.ML.Model.Save(model, tiny.Prompts().Schema, _models.PathOf("model.zip"));
        var run = Bench("--model", _models.PathOf("model.zip"), "--count", "1").Succeeded();
        Assert.IsNotNull(run.Json["generating"]);
        Assert.IsNull(run.Json["training"]);
        Assert.Contains("its training is not measured", run.Error);
    }

    [TestMethod]
    public void Run_WhatCannotBe_IsOneLine()
    {
        Bench("--model", _models.PathOf("gone")).AssertFailed(1, "gone", "does not exist");
        Bench("--model", _models.Video(), "--width", "17", "--quiet").AssertFailed(1, "Generating could not be measured", "Width is 17");
    }

    private static CommandRun Bench(params string[] options) => CommandRun.Of(["bench", "--json", .. options]);
}
