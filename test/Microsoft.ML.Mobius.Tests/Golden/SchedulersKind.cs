using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Diffusion;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.GoldenCases;

/// <summary>Noise schedules and sampling trajectories of diffusers' schedulers, many to a folder.</summary>
internal sealed class SchedulersKind : GoldenKind
{
    public override bool Fits(Golden golden) => golden.Has("io.safetensors") && golden.Has("config.json")
        && golden.Json("config.json") is JsonObject variants && variants.Count > 0 && variants.All(pair => pair.Value is JsonObject variant && variant["scheduler"] is not null);

    public override void Check(Golden golden, Tolerances tolerances, Findings findings)
    {
        foreach (var (name, variant) in golden.Json("config.json").AsObject())
        {
            using var scope = NewDisposeScope();
            if (Lacking(variant!) is { } what)
                findings.NotYet(what);
            else
                Check(golden, name, variant!, tolerances, findings);
        }
    }

    private static void Check(Golden golden, string name, JsonNode variant, Tolerances tolerances, Findings findings)
    {
        var io = golden.Io;
        var schedule = new NoiseSchedule(variant["config"].Deserialize<NoiseScheduleConfig>()!);
        if (io.TryGetValue($"{name}.alphas_cumprod", out var alphas))
            for (int t = 0; t < schedule.Steps; t++)
                findings.Within($"{name}: alpha of t = {t}", alphas[t].item<float>(), schedule.AlphaBar(t), tolerances.Of(1e-6, "alphas rel"));
        if (io.TryGetValue($"{name}.add_noise", out var noisy))
            findings.Within($"{name}.add_noise", noisy, schedule.AddNoise(io["clean"], io["noise"], Times.Of(io["add_noise_timesteps"])), 1e-5);

        foreach (var (count, times) in variant["timesteps"]!.AsObject())
            findings.Holds($"{name}: other timesteps for {count} steps",
                times!.AsArray().Select(t => t!.GetValue<int>()).SequenceEqual(DdimSampler.Timesteps(schedule, int.Parse(count))));
        string prefix = $"{name}.traj.";
        foreach (var (key, expected) in io.Where(pair => pair.Key.StartsWith(prefix, StringComparison.Ordinal)))
        {
            int done = 0, steps = int.Parse(key[prefix.Length..]);
            double tolerance = 1e-4 * Math.Max(1, expected.abs().max().item<float>());
            var last = DdimSampler.Sample((z, t) =>
            {
                findings.Within($"{key}, step {done}", expected[done], z, tolerance);
                return 0.3 * z + 0.1 * Math.Sin(t / 100.0);
            }, schedule, io["x0"], steps, n => done = n);
            findings.Within(key, expected[^1], last, tolerance);
            findings.Holds($"{key}: {done} steps", done == steps);
        }
    }

    /// <summary>What the product cannot do of it, or null.</summary>
    private static string? Lacking(JsonNode variant)
    {
        if (variant["scheduler"]!.GetValue<string>() is var kind && kind != "DDIMScheduler")
            return kind;
        var config = variant["config"]!;
        foreach (var (key, known) in new[] { ("timestep_spacing", new[] { "leading" }), ("prediction_type", ["epsilon"]), ("beta_schedule", ["linear", "scaled_linear"]) })
            if (config[key]?.GetValue<string>() is { } value && !known.Contains(value))
                return $"DDIM's {key} {value}";
        foreach (string key in new[] { "clip_sample", "thresholding", "rescale_betas_zero_snr" })
            if (config[key]?.GetValue<bool>() == true)
                return $"DDIM's {key}";
        return variant["eta"]?.GetValue<double>() > 0 ? "DDIM's eta" : null;
    }
}
