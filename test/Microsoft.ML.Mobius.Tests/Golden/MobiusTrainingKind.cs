using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Diffusion;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.GoldenCases;

/// <summary>AdamW loops on the networks of the authors of Mobius, the temporal half alone trained, with and without clipping: train.json.</summary>
internal sealed class MobiusTrainingKind : GoldenKind
{
    public override bool Fits(Golden golden) => golden.Has("train.json");

    public override void Check(Golden golden, Tolerances tolerances, Findings findings)
    {
        var settings = golden.Json("train.json");
        foreach (var (variant, files) in settings["variants"]!.AsObject())
            foreach (string key in golden.Io.Keys.Where(key => key.StartsWith($"{variant}.losses", StringComparison.Ordinal)))
                Run(golden, variant, files!, settings, key[$"{variant}.losses".Length..], tolerances, findings);
    }

    /// <param name="golden">The case.</param>
    /// <param name="variant">The network.</param>
    /// <param name="files">Its weights and config.</param>
    /// <param name="settings">Those of the optimizer.</param>
    /// <param name="suffix">Nothing, or _clip025 where gradients are clipped to a norm of 0.25.</param>
    /// <param name="tolerances">What is allowed.</param>
    /// <param name="findings">What is found.</param>
    private static void Run(
        Golden golden, string variant, JsonNode files, JsonNode settings, string suffix, Tolerances tolerances, Findings findings)
    {
        var schedule = new NoiseSchedule(settings["scheduler"].Deserialize<NoiseScheduleConfig>()!);
        var io = golden.Io.Where(pair => pair.Key.StartsWith($"{variant}.", StringComparison.Ordinal))
            .ToDictionary(pair => pair.Key[(variant.Length + 1)..], pair => pair.Value);
        double most = suffix == "" ? 1e9 : double.Parse(suffix["_clip".Length..].Insert(1, "."), CultureInfo.InvariantCulture);
        double Number(string name) => settings[name]!.GetValue<double>();

        using var unet = golden.Video(files["config"]!.GetValue<string>(), files["weights"]!.GetValue<string>());
        using var all = NewDisposeScope();
        var named = Golden.Named(unet);
        var start = named.ToDictionary(pair => pair.Key, pair => pair.Value.detach().clone());
        var parameters = unet.Temporal.parameters().ToList();
        findings.Holds($"{variant}: {parameters.Count} parameters are trained", parameters.Count == files["trained_tensors"]!.GetValue<int>());
        using var optimizer = optim.AdamW(parameters, Number("lr"), settings["betas"]![0]!.GetValue<double>(), settings["betas"]![1]!.GetValue<double>(),
            Number("eps"), Number("weight_decay"));
        int steps = settings["steps"]!.GetValue<int>();
        for (int i = 0; i <= steps; i++)
        {
            using var scope = NewDisposeScope();
            int batch = i % steps;
            var noisy = schedule.AddNoise(io["latents"], io["noise"][batch], Times.Of(io["timesteps"][batch]));
            findings.Within($"{variant}: noisy latents of step {i}", io["noisy"][batch], noisy, 1e-5);
            optimizer.zero_grad();
            var loss = nn.functional.mse_loss(unet.call(noisy, io["timesteps"][batch], io["encoder_hidden_states"]), io["noise"][batch]);
            double expected = (i == steps ? io["loss_after" + suffix] : io["losses" + suffix][i]).item<float>();
            findings.Within($"{variant}{suffix}: loss of step {i}", expected, loss.item<float>(), i < 2 ? 1e-5 : tolerances.Of(1e-4, "losses rel"));
            if (i == steps)
                break;
            loss.backward();
            double norm = nn.utils.clip_grad_norm_(parameters, most);
            if (suffix == "")
                findings.Within($"{variant}: gradient of step {i}", io["grad_norms"][i].item<float>(), norm, tolerances.Of(1e-3, "grad_norms rel"));
            optimizer.step();
        }
        findings.Holds($"{variant}: spatial layers moved", named.Where(pair => !Golden.IsTemporal(pair.Key))
            .All(pair => pair.Value.equal(start[pair.Key]).all().item<bool>()));
        if (suffix == "")
            foreach (var (key, after) in io.Where(pair => pair.Key.StartsWith("after.", StringComparison.Ordinal)))
            {
                string name = key["after.".Length..];
                using var _ = no_grad();
                var apart = (named[name] - after).abs();
                double relative = apart.norm().item<float>() / (after - start[name]).norm().item<float>(), near = (apart <= 2e-6).to(ScalarType.Float32).mean().item<float>();
                findings.Holds($"{variant}: {name} is {relative:0.0e-00} of its update apart", relative <= 1e-3);
                findings.Holds($"{variant}: only {near:P} of {name} is within 2e-6", near >= 0.99);
            }
    }
}
