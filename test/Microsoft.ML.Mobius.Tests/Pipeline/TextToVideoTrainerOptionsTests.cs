using System.Collections;
using System.Reflection;
using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;

namespace Microsoft.ML.Mobius.Tests.Pipeline;

[TestClass]
public sealed class TextToVideoTrainerOptionsTests
{
    private readonly TempFolder _folder = new();

    private string Json => _folder.File("options.json");

    [TestCleanup]
    public void RemoveFolder() => _folder.Dispose();

    [TestMethod]
    public void Write_AllOptions_HasAKeyForEach()
    {
        new TextToVideoTrainer.Options().Write(Json);
        string[] names = [.. typeof(TextToVideoTrainer.Options).GetProperties(BindingFlags.Instance | BindingFlags.Public).Select(option => option.Name)
            .Except(["Progress", "CancellationToken"])];
        string[] keys = [.. JsonNode.Parse(File.ReadAllText(Json))!.AsObject().Select(pair => pair.Key)];
        CollectionAssert.AreEquivalent(names.Select(name => char.ToLowerInvariant(name[0]) + name[1..]).ToArray(), keys);
    }

    [TestMethod]
    public void Read_WhatWasWritten_GivesTheSameOptions()
    {
        var options = new TextToVideoTrainer.Options
        {
            InputColumnName = "Text", Layout = UNetLayout.LayerParallel, TemporalText = false, FrameCount = 5, LearningRate = 3e-4, Seed = -7,
            FrameBuckets = [1, 5], LearningRateSchedule = LearningRateSchedule.OneCycle, Loras = [new LoraSource("a ü.safetensors", 0.5)], Resume = true, CheckpointFolder = "here",
        };
        options.Write(Json);
        var read = TextToVideoTrainer.Options.Read(Json);

        foreach (var option in typeof(TextToVideoTrainer.Options).GetProperties(BindingFlags.Instance | BindingFlags.Public))
            if (option.GetValue(options) is ICollection list)
                CollectionAssert.AreEqual(list, (ICollection)option.GetValue(read)!, option.Name);
            else
                Assert.AreEqual(option.GetValue(options), option.GetValue(read), option.Name);
    }

    [TestMethod]
    public void Read_SomeOptions_LeavesTheOthersAtTheirDefaults()
    {
        var read = Read("""
            {
                "steps": 20,        // a comment, and a comma after the last
                "Layout": "serial",
            }
            """);
        Assert.AreEqual((20, UNetLayout.Serial, 8), (read.Steps, read.Layout, read.BatchSize));
    }

    [TestMethod]
    public void Read_ManyMistakes_NamesThemAllAtOnce()
    {
        string message = Refusal("""
            {
                "learningRat": 1e-4,
                "batchSize": "eight",
                "layout": "sideways",
                "emaDecay": 1.5,
                "loras": [{ "path": "a", "strength": 2 }],
                "steps": 3,
                "steps": 4,
                "negativePrompt": null
            }
            """);
        foreach (string said in new[]
        {
            Json, "'learningRat' is no option", "learningRate,", "'batchSize' is \"eight\"; expected is a whole number", "'layout' is \"sideways\"", "LayerParallel",
            "EmaDecay is 1.5", "'loras' is [", "'steps' is there twice", "NegativePrompt is null",
        })
            Assert.Contains(said, message);
    }

    [TestMethod]
    [DataRow("{", "is not JSON")]
    [DataRow("[]", "is not one object")]
    [DataRow("", "is not JSON")]
    public void Read_OtherThanAnObject_SaysSo(string text, string said) => Assert.Contains(said, Refusal(text));

    [TestMethod]
    public void Constructor_ModelMissingAndOptionsWrong_NamesAll()
    {
        var ml = new MLContext(1);
        string model = _folder.File("nowhere");
        var options = new TextToVideoTrainer.Options { ModelPath = model, BatchSize = 0, Resume = true };
        string message = Assert.ThrowsExactly<ArgumentException>(() => ml.Transforms.TextToVideo(options)).Message;
        foreach (string said in new[] { model, "BatchSize is 0", "Resume is true" })
            Assert.Contains(said, message);
    }

    [TestMethod]
    public void Constructor_FilesMissing_NamesThemAll()
    {
        var options = TinyPipeline.Options(options =>
        {
            (options.Layout, options.MotionModulePath) = (UNetLayout.Serial, _folder.File("motion"));
            options.Loras = [new LoraSource(_folder.File("a")), new LoraSource(_folder.File("b"))];
        });
        string message = Assert.ThrowsExactly<ArgumentException>(() => new TextToVideoTrainer(new MLContext(1), options, TinyModel.Base)).Message;
        foreach (string name in new[] { "motion", "a", "b" })
            Assert.Contains($"'{_folder.File(name)}' does not exist", message);
    }

    [TestMethod]
    public void Constructor_UpdateInBackwardWithWhatItCannotBeWith_SaysWhy()
    {
        string Refusal(Action<TextToVideoTrainer.Options> change) => Assert.ThrowsExactly<ArgumentException>(
            () => new TextToVideoTrainer(new MLContext(1), TinyPipeline.Options(change), TinyModel.Base)).Message;
        Assert.Contains("UpdateInBackward needs Adafactor, but Optimizer is AdamW", Refusal(options => options.UpdateInBackward = true));
        Assert.Contains("UpdateInBackward needs one batch per step", Refusal(
            options => (options.UpdateInBackward, options.Optimizer, options.GradientAccumulationSteps) = (true, OptimizerKind.Adafactor, 2)));
        Assert.Contains("Optimizer is 7; known are AdamW, Adafactor", Refusal(options => options.Optimizer = (OptimizerKind)7));
    }

    private TextToVideoTrainer.Options Read(string json)
    {
        File.WriteAllText(Json, json);
        return TextToVideoTrainer.Options.Read(Json);
    }

    private string Refusal(string json) => Assert.ThrowsExactly<InvalidDataException>(() => Read(json)).Message;
}
