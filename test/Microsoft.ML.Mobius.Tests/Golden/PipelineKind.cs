using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Sampling;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Video;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.GoldenCases;

/// <summary>A whole model folder: opened, run on the reference's noise, saved, opened again.</summary>
internal sealed class PipelineKind : GoldenKind
{
    private const double Frames = 2, States = 2e-5;       // of 255, and of CLIP's text states

    public override bool Fits(Golden golden) => golden.Has("model_index.json");

    public override void Check(Golden golden, Tolerances tolerances, Findings findings)
    {
        using var folders = new ModelFolders();
        using var model = ModelFolders.Open(golden.Folder);
        string? own = ModelFolder.Save(model, folders.PathOf("saved"), frames: 4, side: null, around: null);
        using var again = ModelFolders.Open(folders.PathOf("saved"));
        findings.Holds("a serial model is saved as diffusers' pipeline, another as our own", own is null == (model.UNet.Config.Layout == UNetLayout.Serial));
        findings.Holds("saved and opened, the weights are the same", ModelFolders.AreSame(model, again));

        foreach (var (tag, run) in golden.Has("runs.json") ? golden.Json("runs.json").AsObject() : [])
        {
            if (golden.Io.TryGetValue($"{tag}.prompt_embeds", out var states))
                findings.Within($"{tag}: the prompt's text states", states, model.EncodeText((string)run!["prompt"]!), States);
            if (golden.Io.TryGetValue($"{tag}.negative_prompt_embeds", out states))
                findings.Within($"{tag}: the negative prompt's text states", states, model.EncodeText((string)run!["negative_prompt"]!), States);
            string scheduler = (string)run!["scheduler"]!;
            if (SamplerChoice.Named(scheduler) is not { } sampler)
            {
                findings.NotYet(scheduler);
                continue;
            }
            foreach (var (i, (made, repeated)) in Generate(model, golden, run, sampler).Zip(Generate(again, golden, run, sampler)).Index())
            {
                using var scope = NewDisposeScope();
                var pixels = tensor(made.Pixels.ToArray()).reshape(made.FrameCount, made.Height, made.Width, 3).to(ScalarType.Float32);
                findings.Within($"{tag}: frames of video {i}", Reference(golden, tag, i), pixels, Frames);
                findings.Holds($"{tag}: saved and opened, the model makes the same video {i}", made.Pixels.Span.SequenceEqual(repeated.Pixels.Span));
            }
        }
    }

    private static VideoClip[] Generate(TextToVideoModel model, Golden golden, JsonNode run, SamplerKind sampler)
    {
        string[] prompts = run["prompt"] is JsonArray several ? [.. several.Select(prompt => (string)prompt!)] : [(string)run["prompt"]!];
        var latents = golden.Io.First(pair => pair.Key.StartsWith("latents", StringComparison.Ordinal) && pair.Value.shape[0] == prompts.Length).Value;
        using var scope = NewDisposeScope();
        if (latents.dim() == 4)
            latents = latents.unsqueeze(2);                                               // of images: one frame
        var settings = new SamplingSettings(
            (int)latents.shape[2], (int)run["height"]!, (int)run["width"]!, 8, (int)run["num_inference_steps"]!, (double)run["guidance_scale"]!,
            Sampler: sampler);
        return [.. prompts.Select((prompt, i) => new TextToVideoSampler(model).Generate(
            prompt, (string?)run["negative_prompt"] ?? "", settings, latents.narrow(0, i, 1)))];
    }

    /// <summary>[F, H, W, 3] in 0..255.</summary>
    private static Tensor Reference(Golden golden, string tag, int i) => golden.Io.TryGetValue($"{tag}.video", out var video)
        ? video[i].permute(1, 2, 3, 0).mul(127.5).add(127.5).clamp(0, 255) : golden.Io[$"{tag}.image"].narrow(0, i, 1).permute(0, 2, 3, 1).mul(255);
}
