using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Diffusion;
using Microsoft.ML.Mobius.Sampling;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.GoldenCases;

/// <summary>Noise schedules and sampling trajectories of diffusers' schedulers, many to a folder.</summary>
internal sealed class SchedulersKind : GoldenKind
{
    public override bool Fits(Golden golden) => golden.Has("io.safetensors") && golden.Has("config.json")
        && golden.Json("config.json") is JsonObject { Count: > 0 } variants
        && variants.All(pair => pair.Value is JsonObject variant && variant["scheduler"] is not null);

    public override void Check(Golden golden, Tolerances tolerances, Findings findings)
    {
        foreach (var (name, variant) in golden.Json("config.json").AsObject())
        {
            using var scope = NewDisposeScope();
            try
            {
                Check(golden, name, variant!, tolerances, findings);
            }
            catch (NotSupportedException e)
            {
                findings.NotYet($"{name}: {e.Message}");
            }
        }
    }

    private static void Check(Golden golden, string name, JsonNode variant, Tolerances tolerances, Findings findings)
    {
        var io = golden.Io;
        var config = variant["config"].Deserialize<NoiseScheduleConfig>()! with { ClassName = (string)variant["scheduler"]! };
        if (SamplerChoice.Named(config.ClassName) is null)
            throw new NotSupportedException(config.ClassName);
        var schedule = new NoiseSchedule(config);
        var sampler = SamplerChoice.Of(null, config);
        if (sampler is DdimSampler ddim)
            sampler = ddim with { Eta = (double?)variant["eta"] ?? 0 };

        double relative = tolerances.Of(1e-6, "alphas rel");
        if (io.TryGetValue($"{name}.alphas_cumprod", out var alphas))
            for (int t = 0; t < schedule.Steps; t++)
                findings.Within($"{name}: alpha of t = {t}", alphas[t].item<float>(), schedule.AlphaBar(t), relative);
        if (io.TryGetValue($"{name}.add_noise", out var noisy))
            findings.Within($"{name}.add_noise", noisy, schedule.AddNoise(io["clean"], io["noise"], Times.Of(io["add_noise_timesteps"])), 1e-5);
        if (io.TryGetValue($"{name}.get_velocity", out var velocity))
            findings.Within($"{name}.get_velocity", velocity, new NoiseSchedule(config with { PredictionType = "v_prediction" })
                .Target(io["clean"], io["noise"], Times.Of(io["add_noise_timesteps"])), 1e-5);

        foreach (var (count, times) in variant["timesteps"]!.AsObject())
            CheckTimesteps($"{name}: timesteps for {count} steps", [.. times!.AsArray().Select(t => t!.GetValue<double>())],
                sampler.Timesteps(schedule, int.Parse(count)), findings);
        foreach (var (key, expected, steps) in Of("sigmas"))
        {
            var sigmas = sampler is SigmaSampler solver ? solver.Grid(schedule, steps).Sigmas : [];
            findings.Holds($"{key}: {sigmas.Count} of them", sigmas.Count == expected.shape[0]);
            for (int i = 0; i < Math.Min(sigmas.Count, expected.shape[0]); i++)
                findings.Within($"{key}, {i}", expected[i].item<float>(), sigmas[i], relative);
        }
        foreach (var (key, expected, steps) in Of("traj"))
            CheckTrajectory(key, expected, steps);

        IEnumerable<(string Key, Tensor Expected, int Steps)> Of(string what)
            => from pair in io
               where pair.Key.StartsWith($"{name}.{what}.", StringComparison.Ordinal)
               select (pair.Key, pair.Value, int.Parse(pair.Key[(name.Length + what.Length + 2)..]));

        void CheckTrajectory(string key, Tensor expected, int steps)
        {
            // Euler's go through x = z / α; its model is called with z.
            var grid = (sampler as ScaledSampler)?.Grid(schedule, steps);
            double tolerance = 1e-4 * Math.Max(1, expected.abs().max().item<float>());
            int done = 0, drawn = 0, told = 0;
            var last = sampler.Sample((z, t) =>
            {
                findings.Within($"{key}, step {done}", expected[done], grid is null ? z : z / grid.Level(done).Signal, tolerance);
                done++;
                return 0.3 * z + 0.1 * Math.Sin(t / 100.0);
            }, schedule, io["x0"], steps, () => io["noise_bank"][drawn++], n => told = n);
            findings.Within(key, expected[^1], last, tolerance);
            findings.Holds($"{key}: {done} calls, {told} of them told", done == expected.shape[0] - 1 && told == done);
            int rows = (int)variant["noise_rows_used"]![$"{steps}"]!;
            if (sampler is not EulerSampler)                                              // diffusers' draws noise that it has no use for
                findings.Holds($"{key}: {drawn} times noise instead of {rows}", drawn == rows);
        }
    }

    /// <summary>Whole ones up to the last bits, those between two within float32's rounding of a thousand.</summary>
    private static void CheckTimesteps(string what, double[] expected, IReadOnlyList<double> times, Findings findings)
    {
        findings.Holds($"{what}: {string.Join(' ', times)}", expected.Length == times.Count
            && expected.Zip(times).All(pair => Math.Abs(pair.First - pair.Second) <= (double.IsInteger(pair.First) ? 1e-9 : 1e-3)));
    }
}
