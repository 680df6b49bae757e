using Microsoft.ML.Mobius.Diffusion;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Diffusion;

[TestClass]
public sealed class NoiseScheduleTests
{
    [TestMethod]
    [DataRow(0.0)]
    [DataRow(0.5)]
    [DataRow(0.8)]
    public void Prior_FrameCorrelation_IsThatOfAnyTwoFrames(double correlation)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(1, CPU);
        var schedule = new NoiseSchedule(new NoiseScheduleConfig { FrameCorrelation = correlation });
        var noise = schedule.Prior([4, 4, 3, 64, 64], generator);
        var frames = noise.permute(2, 0, 1, 3, 4).reshape(3, -1);
        var covariance = frames.matmul(frames.t()) / frames.shape[1];
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++)
                Assert.AreEqual(i == j ? 1 : correlation, covariance[i, j].item<float>(), 0.02, $"{i}, {j}");
        Assert.IsTrue(Math.Abs((noise[0] * noise[1]).mean().item<float>()) < 0.02, "Clips share noise.");
    }

    [TestMethod]
    public void Prior_NoCorrelation_IsPlainNoiseBitForBit()
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(1, CPU);
        using var same = new Generator(1, CPU);
        var noise = new NoiseSchedule(new NoiseScheduleConfig()).Prior([1, 4, 3, 8, 8], generator);
        Assert.IsTrue(noise.equal(randn([1, 4, 3, 8, 8], generator: same)).all().item<bool>());
    }

    [TestMethod]
    [DataRow(1.0)]
    [DataRow(-0.1)]
    [DataRow(double.NaN)]
    public void Constructor_FrameCorrelationOutOfRange_Throws(double correlation) => Assert.Contains("frame_correlation",
        Assert.ThrowsExactly<NotSupportedException>(() => new NoiseSchedule(new NoiseScheduleConfig { FrameCorrelation = correlation })).Message);

    [TestMethod]
    public void AlphaBar_StableDiffusionsSchedule_HasItsValues()
    {
        var schedule = new NoiseSchedule(new NoiseScheduleConfig());
        Assert.AreEqual(1000, schedule.Steps);
        Assert.AreEqual(1 - 0.00085, schedule.AlphaBar(0), 1e-7);
        Assert.AreEqual(0.00466, schedule.AlphaBar(999), 1e-5);
        Assert.AreEqual(schedule.AlphaBar(0), schedule.AlphaBar(-1));
        Assert.AreEqual(1, new NoiseSchedule(new NoiseScheduleConfig { SetAlphaToOne = true }).AlphaBar(-1));
    }

    [TestMethod]
    public void AddNoise_TwoClips_TakesEachOnesTime()
    {
        using var scope = NewDisposeScope();
        var schedule = new NoiseSchedule(new NoiseScheduleConfig());
        var noisy = schedule.AddNoise(full([2, 1, 1, 1, 1], 3f), full([2, 1, 1, 1, 1], -2f), [10, 800]);
        for (int i = 0; i < 2; i++)
        {
            double a = schedule.AlphaBar(i == 0 ? 10 : 800);
            Assert.AreEqual(3 * Math.Sqrt(a) - 2 * Math.Sqrt(1 - a), noisy[i].item<float>(), 1e-5);
        }
    }

    [TestMethod]
    [DataRow("epsilon")]
    [DataRow("v_prediction")]
    [DataRow("sample")]
    public void NoiseOf_TheTarget_IsTheNoise(string prediction)
    {
        using var scope = NewDisposeScope();
        var schedule = new NoiseSchedule(new NoiseScheduleConfig { PredictionType = prediction });
        var (clean, noise) = (randn([1, 2, 3, 4, 4]), randn([1, 2, 3, 4, 4]));
        foreach (int t in new[] { 20, 500, 990 })
            Close.Assert(noise, schedule.NoiseOf(schedule.Target(clean, noise, [t]), schedule.AddNoise(clean, noise, [t]), schedule.Level(t)), 1e-4, $"t = {t}");
    }

    [TestMethod]
    [DataRow("epsilon")]
    [DataRow("v_prediction")]
    [DataRow("sample")]
    public void Weights_OfEachPrediction_WeighTheSameError(string prediction)
    {
        using var scope = NewDisposeScope();
        NoiseSchedule Schedule(string type) => new(new NoiseScheduleConfig { PredictionType = type });
        var (clean, noise, other) = (randn(1, 8), randn(1, 8), randn(1, 8));
        var schedule = Schedule(prediction);
        foreach (int t in new[] { 100, 400, 600 })
        {
            // The same wrong guess of the noise, said in terms of what is predicted: the clean latents that it means differ with it.
            var z = schedule.AddNoise(clean, noise, [t]);
            double a = schedule.AlphaBar(t);
            var guess = (z - Math.Sqrt(1 - a) * other) / Math.Sqrt(a);
            double Error(NoiseSchedule of) => (of.Target(guess, other, [t]) - of.Target(clean, noise, [t])).square().mean().item<float>();
            double expected = Error(Schedule("v_prediction"));
            Assert.AreEqual(expected, schedule.VelocityWeight(t) * Error(schedule), 1e-3 * expected);
            expected = Math.Min(a / (1 - a), 5) * Error(Schedule("sample"));
            Assert.AreEqual(expected, schedule.MinSnrWeight(t, 5) * Error(schedule), 1e-3 * expected);
        }
    }

    [TestMethod]
    public void New_UnknownKinds_AreRefusedByName()
    {
        StringAssert.Contains(Assert.ThrowsExactly<NotSupportedException>(() => new NoiseSchedule(new NoiseScheduleConfig { BetaSchedule = "cubic" })).Message, "cubic");
        StringAssert.Contains(Assert.ThrowsExactly<NotSupportedException>(() => new NoiseSchedule(new NoiseScheduleConfig { PredictionType = "flow" })).Message, "flow");
    }

    [TestMethod]
    [DataRow("scaled_linear")]
    [DataRow("linear")]
    [DataRow("squaredcos_cap_v2")]
    public void AlphaBar_ZeroTerminalSnr_EndsAtZeroAndBeginsAsBefore(string betas)
    {
        var config = new NoiseScheduleConfig { BetaSchedule = betas, PredictionType = "v_prediction" };
        var (plain, zero) = (new NoiseSchedule(config), new NoiseSchedule(config with { RescaleBetasZeroSnr = true }));
        Assert.IsTrue(plain.AlphaBar(999) > 0);
        Assert.AreEqual(0.0, zero.AlphaBar(999));
        Assert.AreEqual(plain.AlphaBar(0), zero.AlphaBar(0), 1e-6);
        Assert.IsTrue(Enumerable.Range(1, 999).All(t => zero.AlphaBar(t) < zero.AlphaBar(t - 1)));
        Assert.AreEqual(4096, zero.Sigma(999), 1e-3);
        StringAssert.Contains(Assert.ThrowsExactly<NotSupportedException>(
            () => new NoiseSchedule(config with { PredictionType = "epsilon", RescaleBetasZeroSnr = true })).Message, "v_prediction");
    }

    [TestMethod]
    public void AlphaBar_ZeroTerminalSnr_IsRoundedAsThatOfPublishedModels()
    {
        var schedule = new NoiseSchedule(new NoiseScheduleConfig { PredictionType = "v_prediction", RescaleBetasZeroSnr = true });
        Assert.AreEqual(1.96789e-7, schedule.AlphaBar(998), 1e-12);                       // by another rounding of β 1.96782e-7
        Assert.AreEqual(7.90750e-7, schedule.AlphaBar(997), 1e-12);
    }

    [TestMethod]
    public void TimeOf_Sigma_IsTheTime()
    {
        var schedule = new NoiseSchedule(new NoiseScheduleConfig());
        foreach (double t in new[] { 0, 1, 500, 998, 999 })
            Assert.AreEqual(t, schedule.TimeOf(schedule.Sigma(t)), 1e-9);
        Assert.AreEqual((schedule.Sigma(500) + 3 * schedule.Sigma(501)) / 4, schedule.Sigma(500.75), 1e-9);
        Assert.AreEqual(500.25, schedule.TimeOf(Math.Pow(schedule.Sigma(500), 0.75) * Math.Pow(schedule.Sigma(501), 0.25)), 1e-9);
        Assert.AreEqual((0.0, 999.0), (schedule.TimeOf(1e-9), schedule.TimeOf(1e9)));
    }
}
