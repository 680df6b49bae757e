using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Diffusion;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.GoldenCases;

/// <summary>AdamW loops on the 3D U-Net, written to log.json, and the ingredients that diffusers' scripts add to them.</summary>
internal sealed class TrainingKind : GoldenKind
{
    public override bool Fits(Golden golden) => golden.Case?["scheduler"] is not null && golden.Has("log.json");

    public override void Check(Golden golden, Tolerances tolerances, Findings findings)
    {
        var config = golden.Case!["scheduler"].Deserialize<NoiseScheduleConfig>()!;
        var schedule = new NoiseSchedule(config);
        var norms = golden.Json("grad_norms_step1.json").AsObject().ToDictionary(pair => pair.Key, pair => pair.Value!.GetValue<double>());
        var zero = ZeroGradients.Of(golden, norms);
        foreach (var (variant, log) in golden.Json("log.json").AsObject())
            Run(golden, variant, log!, config, zero, tolerances, findings);
        CheckFirstStep(golden, schedule, zero, tolerances, findings);

        CheckWeights(golden, config, findings);
        if (golden.Io.TryGetValue("offset.strength", out var strength))
        {
            CheckPerturbed(golden.Io, "offset.result_bc", "offset.rand_bc", strength.item<float>(), findings);
            CheckPerturbed(golden.Io, "perturb.new_noise", "perturb.rand", 0.1, findings);
        }
    }

    private static void CheckPerturbed(IReadOnlyDictionary<string, Tensor> io, string result, string further, double strength, Findings findings)
    {
        using var scope = NewDisposeScope();
        findings.Within(result, io[result], TrainingLoop.Perturbed(io["offset.noise"], io[further], strength), 1e-6);
    }

    private static void Run(
        Golden golden, string variant, JsonNode log, NoiseScheduleConfig config, HashSet<string> zero, Tolerances tolerances, Findings findings)
    {
        var options = log["options"]!;
        var schedule = new NoiseSchedule(config with { PredictionType = options["prediction_type"]!.GetValue<string>() });
        double? gamma = options["snr_gamma"]?.GetValue<double>();
        bool all = options["trainable"]!.GetValue<string>() != "temporal";
        double rate = options["lr"]!.GetValue<double>();
        int accumulate = options["accumulate"]!.GetValue<int>(), warmup = options["warmup"]!.GetValue<int>();
        using var unet = golden.Video(golden.ConfigFile, golden.WeightsFile, trainAll: all);
        var (io, named) = (golden.Io, Golden.Named(unet));
        var parameters = named.Values.Where(parameter => parameter.requires_grad).Cast<TorchSharp.Modules.Parameter>().ToList();
        findings.Holds($"{variant}: {parameters.Count} parameters are trained", parameters.Count == log["trainable_tensors"]!.GetValue<int>());
        using var optimizer = optim.AdamW(parameters, rate, options["betas"]![0]!.GetValue<double>(), options["betas"]![1]!.GetValue<double>(),
            options["eps"]!.GetValue<double>(), options["weight_decay"]!.GetValue<double>());
        int batches = (int)io["latents"].shape[0];
        foreach (var (i, step) in log["steps"]!.AsArray().Index())
        {
            using var scope = NewDisposeScope();
            foreach (var group in optimizer.ParamGroups)
                group.LearningRate = rate * (warmup == 0 ? 1 : Math.Min(1, (i + 1.0) / warmup));
            optimizer.zero_grad();
            var loss = Enumerable.Range(0, accumulate).Select(j => Loss(unet, schedule, gamma, io, (i * accumulate + j) % batches))
                .Aggregate((a, b) => a + b) / accumulate;
            loss.backward();
            double norm = nn.utils.clip_grad_norm_(parameters, options["clip_grad_norm"]?.GetValue<double>() ?? 1e9);
            findings.Within($"{variant}: loss of step {i}", step!["loss"]!.GetValue<double>(), loss.item<float>(), tolerances.Of(1e-4, "losses rel"));
            findings.Within($"{variant}: gradient of step {i}", step["grad_norm"]!.GetValue<double>(), norm, tolerances.Of(1e-3, "grad_norm rel"));
            optimizer.step();
        }
        CheckAfter(golden, variant, named, zero, rate, all, findings);
    }

    /// <summary>Adam turns rounding noise into whole steps here and there: nearly all elements within 1e-5, and all within one step.</summary>
    private static void CheckAfter(
        Golden golden, string variant, Dictionary<string, Tensor> named, HashSet<string> zero, double rate, bool all, Findings findings)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        string prefix = $"{variant}.after.";
        long elements = 0, apart = 0;
        foreach (var (key, expected) in golden.Io.Where(pair => pair.Key.StartsWith(prefix, StringComparison.Ordinal)))
            if (key[prefix.Length..] is var name && !zero.Contains(name))
            {
                bool frozen = !all && !Golden.IsTemporal(name);
                findings.Within(key, expected, named[name], frozen ? 0 : Math.Max(rate, 1e-3));
                elements += expected.numel();
                apart += ((expected - named[name]).abs() > 1e-5).sum().item<long>();
            }
        findings.Holds($"{variant}: {apart} of {elements} elements are further apart than 1e-5", apart <= 1e-3 * elements);

        string norms = $"param_norms_after_{variant}.json";
        if (golden.Has(norms))
            foreach (var (name, norm) in golden.Json(norms).AsObject().Where(pair => !zero.Contains(pair.Key)))
                findings.Within($"{variant}: the norm of {name}", norm!.GetValue<double>(), named[name].norm().item<float>(), 1e-3);
    }

    private static void CheckFirstStep(Golden golden, NoiseSchedule schedule, HashSet<string> zero, Tolerances tolerances, Findings findings)
    {
        using var unet = golden.Video(golden.ConfigFile, golden.WeightsFile);
        using var scope = NewDisposeScope();
        var (io, named) = (golden.Io, Golden.Named(unet));
        var noisy = Noisy(schedule, io, 0);
        findings.Within("step1.noisy", io["step1.noisy"], noisy, 1e-5);
        var predicted = unet.call(noisy, io["timesteps"][0], io["encoder_hidden_states"][0]);
        findings.Within("step1.pred", io["step1.pred"], predicted, 2e-4);
        nn.functional.mse_loss(predicted, io["noise"][0]).backward();
        foreach (var (key, expected) in io.Where(pair => pair.Key.StartsWith("step1.grad.", StringComparison.Ordinal)))
            if (key["step1.grad.".Length..] is var name && !zero.Contains(name))
                findings.WithinOfLargest(key, expected, named[name].grad!, 1e-3);
        foreach (var (name, norm) in golden.Json("grad_norms_step1.json").AsObject().Where(pair => !zero.Contains(pair.Key)))
            findings.Within($"step 1: gradient of {name}", norm!.GetValue<double>(), named[name].grad!.norm().item<float>(),
                tolerances.Of(1e-3, "grad_norm rel"));
    }

    private static void CheckWeights(Golden golden, NoiseScheduleConfig config, Findings findings)
    {
        var io = golden.Io;
        if (!io.TryGetValue("snr.timesteps", out var timesteps))
            return;
        var velocity = new NoiseSchedule(config with { PredictionType = "v_prediction" });
        foreach (var (key, expected) in io.Where(pair => pair.Key.StartsWith("snr.gamma", StringComparison.Ordinal)))
        {
            double gamma = double.Parse(key.Split('.')[1]["gamma".Length..], CultureInfo.InvariantCulture);
            if (key.EndsWith(".v_old", StringComparison.Ordinal))                            // what diffusers itself has given up
                continue;
            var schedule = key.EndsWith(".eps", StringComparison.Ordinal) ? new NoiseSchedule(config) : velocity;
            foreach (var (i, t) in Times.Of(timesteps).Index())
                findings.Within($"{key} of t = {t}", expected[i].item<float>(), schedule.MinSnrWeight(t, gamma), 1e-5);
        }
    }

    private static Tensor Loss(VideoUNet unet, NoiseSchedule schedule, double? gamma, IReadOnlyDictionary<string, Tensor> io, int batch)
    {
        int[] t = Times.Of(io["timesteps"][batch]);
        var predicted = unet.call(Noisy(schedule, io, batch), io["timesteps"][batch], io["encoder_hidden_states"][batch]);
        var squares = (predicted - schedule.Target(io["latents"][batch], io["noise"][batch], t)).square().flatten(1).mean([1]);
        return gamma is { } most ? (squares * tensor([.. t.Select(step => (float)schedule.MinSnrWeight(step, most))])).mean() : squares.mean();
    }

    private static Tensor Noisy(NoiseSchedule schedule, IReadOnlyDictionary<string, Tensor> io, int batch)
        => schedule.AddNoise(io["latents"][batch], io["noise"][batch], Times.Of(io["timesteps"][batch]));
}

internal static class Times
{
    public static int[] Of(Tensor timesteps) => [.. timesteps.data<long>().Select(t => (int)t)];
}
