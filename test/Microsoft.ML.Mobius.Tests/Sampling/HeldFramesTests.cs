using System.Text.Json;
using Microsoft.ML.Mobius.Diffusion;
using Microsoft.ML.Mobius.Sampling;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Sampling;

[TestClass]
public sealed class HeldFramesTests
{
    private static IEnumerable<object[]> Kinds => Enum.GetValues<SamplerKind>().Select(kind => new object[] { kind });

    [TestMethod]
    [DynamicData(nameof(Kinds))]
    public void Holding_WhateverTheModelPredicts_EndsInTheGivenFrames(SamplerKind kind)
    {
        foreach (string prediction in new[] { "epsilon", "v_prediction", "sample" })
        {
            if ((kind, prediction) == (SamplerKind.Pndm, "v_prediction"))
                continue;                                                                 // it combines velocities of several times
            using var scope = NewDisposeScope();
            var schedule = new NoiseSchedule(new NoiseScheduleConfig
            {
                SetAlphaToOne = true, PredictionType = prediction, Other = new() { ["final_sigmas_type"] = JsonSerializer.SerializeToElement("zero") },
            });
            var given = 0.5 * randn([1, 2, 2, 3, 3]);
            var seen = new List<double>();
            var denoise = HeldFrames.Holding((z, t) =>
            {
                var level = NoiseLevel.OfRatio(schedule.Sigma(t));
                seen.Add((z[.., .., ..2] - level.Signal * given).std().item<float>() / level.Noise);
                return 0.1 * z;
            }, schedule, given);
            var z = SamplerChoice.Of(kind, schedule.Config).Sample(denoise, schedule, randn([1, 2, 5, 3, 3]), 20, () => randn([1, 2, 5, 3, 3]));
            Close.Assert(given, z[.., .., ..2], 2e-3, $"{kind}, {prediction}");
            Assert.IsTrue(seen.Average() is > 0.7 and < 1.3, $"{kind}, {prediction}: the model saw them at {seen.Average()} of the step's noise.");
        }
    }

    [TestMethod]
    public void Holding_OtherFrames_AreTheModels()
    {
        using var scope = NewDisposeScope();
        var schedule = new NoiseSchedule(new NoiseScheduleConfig());
        var z = randn([1, 2, 5, 3, 3]);
        var predicted = HeldFrames.Holding((z, _) => 2 * z, schedule, zeros([1, 2, 2, 3, 3]))(z, 500);
        Close.Assert(2 * z[.., .., 2..], predicted[.., .., 2..], 0);
        Close.Assert(z[.., .., ..2] / schedule.Level(500).Noise, predicted[.., .., ..2], 1e-4);
    }
}
