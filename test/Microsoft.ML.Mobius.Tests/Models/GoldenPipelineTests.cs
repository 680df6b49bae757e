using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Sampling;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Video;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Models;

/// <summary>Every golden folder that holds a whole pipeline: opened, run on the reference's noise, saved, opened again.</summary>
[TestClass]
public sealed class GoldenPipelineTests
{
    private const string None = "none";

    public static IEnumerable<object[]> Pipelines()
    {
        string root = Path.Combine(Shared.Root, "golden");
        string[] found = !Directory.Exists(root) ? [] : [.. Directory.EnumerateDirectories(root)
            .Where(folder => File.Exists(Path.Combine(folder, "model_index.json")) && File.Exists(Path.Combine(folder, "runs.json"))).Order(StringComparer.Ordinal)];
        return found.Length == 0 ? [[None]] : found.Select(folder => new object[] { Path.GetFileName(folder) });
    }

    [TestMethod]
    [DynamicData(nameof(Pipelines))]
    public void Generate_ReferencesNoise_GivesItsFrames(string name)
    {
        string folder = Shared.PathOf("golden", name);
        using var golden = new Golden(name);
        using var model = ModelFolders.Open(folder);
        int compared = 0;
        foreach (var (tag, run) in golden.Json("runs.json").AsObject())
        {
            if ((string?)run!["scheduler"] != "DDIMScheduler")
                continue;                                                                 // not yet
            var clips = Generate(model, golden, run);
            for (int i = 0; i < clips.Length; i++)
                AssertClose(Reference(golden, tag, i), clips[i], $"{tag}, video {i}");
            compared += clips.Length;
        }
        Assert.IsGreaterThan(0, compared, "No run of this pipeline is of a scheduler that there is.");
    }

    [TestMethod]
    [DynamicData(nameof(Pipelines))]
    public void EncodeText_ReferencesPrompts_GivesItsStates(string name)
    {
        using var golden = new Golden(name);
        var runs = golden.Json("runs.json").AsObject().Where(run => golden.Io.ContainsKey($"{run.Key}.prompt_embeds")).ToArray();
        if (runs.Length == 0)
            return;                                                                       // this pipeline tells none
        using var model = ModelFolders.Open(Shared.PathOf("golden", name));
        using var scope = NewDisposeScope();
        foreach (var (tag, run) in runs)
        {
            string prompt = (string)run!["prompt"]!;
            CollectionAssert.AreEqual(golden.Io[$"{tag}.prompt_ids"].data<long>().ToArray(), model.Tokenizer.Encode(prompt).Ids);
            Close.Assert(golden.Io[$"{tag}.prompt_embeds"], model.EncodeText(prompt), 2e-5, tag);
            Close.Assert(golden.Io[$"{tag}.negative_prompt_embeds"], model.EncodeText((string)run["negative_prompt"]!), 2e-5, tag);
        }
    }

    [TestMethod]
    [DynamicData(nameof(Pipelines))]
    public void Save_Opened_IsTheSameAgain(string name)
    {
        using var golden = new Golden(name);
        using var folders = new ModelFolders();
        using var model = ModelFolders.Open(Shared.PathOf("golden", name));
        string? own = ModelFolder.Save(model, folders.PathOf("saved"), frames: 4, side: null, around: null);
        Assert.AreEqual(model.UNet.Config.Layout != UNetLayout.Serial, own is not null);

        using var again = ModelFolders.Open(folders.PathOf("saved"));

        ModelFolders.AssertSame(model, again);
        var run = golden.Json("runs.json").AsObject().First(run => (string?)run.Value!["scheduler"] == "DDIMScheduler").Value!;
        foreach (var (first, second) in Generate(model, golden, run).Zip(Generate(again, golden, run)))
            TinyPipeline.AssertSame(first, second);
    }

    [TestMethod]
    [DataRow(UNetLayout.StreamParallel)]
    [DataRow(UNetLayout.Serial)]
    public void Open_ImageModelAsVideoModel_StartsAsTheImageModel(UNetLayout layout)
    {
        using var golden = new Golden("pipeline_sd");
        var io = golden.Tensors("io_inflation.safetensors");
        using var model = ModelFolders.Open(Shared.PathOf("golden", "pipeline_sd"), options => options.Layout = layout);
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        Close.Assert(io["out"], model.UNet.call(io["sample"], io["timesteps"], io["encoder_hidden_states"]), 2e-4, "a time per video");
        Close.Assert(io["out_t500"], model.UNet.call(io["sample"], full([2], 500, ScalarType.Int64), io["encoder_hidden_states"]), 2e-4, "t = 500");
    }

    private static VideoClip[] Generate(TextToVideoModel model, Golden golden, JsonNode run)
    {
        string[] prompts = run["prompt"] is JsonArray several ? [.. several.Select(prompt => (string)prompt!)] : [(string)run["prompt"]!];
        var latents = golden.Io.Single(pair => pair.Key.StartsWith("latents") && pair.Value.shape[0] == prompts.Length).Value;
        if (latents.dim() == 4)
            latents = latents.unsqueeze(2);                                               // of images: one frame
        var settings = new SamplingSettings((int)latents.shape[2], (int)run["height"]!, (int)run["width"]!, 8, (int)run["num_inference_steps"]!, (double)run["guidance_scale"]!);
        return [.. prompts.Select((prompt, i) => new TextToVideoSampler(model).Generate(
            prompt, (string?)run["negative_prompt"] ?? "", settings, latents.narrow(0, i, 1)))];
    }

    /// <summary>[F, H, W, 3] in 0..255.</summary>
    private static Tensor Reference(Golden golden, string tag, int i) => golden.Io.TryGetValue($"{tag}.video", out var video)
        ? video[i].permute(1, 2, 3, 0).mul(127.5).add(127.5).clamp(0, 255) : golden.Io[$"{tag}.image"].narrow(0, i, 1).permute(0, 2, 3, 1).mul(255);

    private static void AssertClose(Tensor expected, VideoClip actual, string what)
    {
        using var scope = NewDisposeScope();
        var frames = tensor(actual.Pixels.ToArray()).reshape(actual.FrameCount, actual.Height, actual.Width, 3).to(ScalarType.Float32);
        Close.Assert(expected, frames, 2, what);
    }
}
