using System.Text.Json;
using Microsoft.ML.Mobius.Diffusion;
using Microsoft.ML.Mobius.Sampling;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Diffusion;

/// <summary>What holds of every sampler.</summary>
[TestClass]
public sealed class SamplerTests
{
    private static IEnumerable<object[]> Kinds => Enum.GetValues<SamplerKind>().Select(kind => new object[] { kind });

    private static NoiseScheduleConfig Config(string prediction = "epsilon", params (string Key, object Value)[] settings) => new()
    {
        SetAlphaToOne = true, PredictionType = prediction,
        Other = settings.ToDictionary(setting => setting.Key, setting => JsonSerializer.SerializeToElement(setting.Value)),
    };

    [TestMethod]
    [DynamicData(nameof(Kinds))]
    public void Sample_TruePrediction_GivesTheCleanLatents(SamplerKind kind)
    {
        foreach (string prediction in new[] { "epsilon", "v_prediction", "sample" })
        {
            if ((kind, prediction) == (SamplerKind.Pndm, "v_prediction"))
                continue;                                                                 // it combines velocities of several times
            using var scope = NewDisposeScope();
            var schedule = new NoiseSchedule(Config(prediction));
            var sampler = SamplerChoice.Of(kind, schedule.Config);
            var clean = 0.5 * randn([1, 2, 3, 4, 4]);
            // Of data that is one point, the exact prediction is that of the noise which leads from it to z, wherever z is.
            Tensor NoiseIn(Tensor z, NoiseLevel level) => (z - level.Signal * clean) / level.Noise;
            var z = sampler.Sample((z, t) => schedule.Target(clean, NoiseIn(z, schedule.Level((int)t)), [(int)t]),
                schedule, randn(clean.shape), 20, () => randn(clean.shape));
            bool endsAtFirst = kind is SamplerKind.DpmSolver or SamplerKind.DpmSolverKarras or SamplerKind.UniPc;       // at σ = 0.03
            Close.Assert(clean, z, endsAtFirst ? 0.2 : 1e-3, $"{kind}, {prediction}");
        }
    }

    [TestMethod]
    [DynamicData(nameof(Kinds))]
    public void Sample_VelocityFromAlmostNoSignal_OfOnePointIsThatPoint(SamplerKind kind)
    {
        foreach (var schedule in AlmostNoSignal())
            foreach (int steps in new[] { 1, 10, 25 })
            {
                using var scope = NewDisposeScope();
                using var generator = new Generator(5, CPU);
                Tensor Noise() => randn([1, 2, 3, 8, 8], generator: generator);
                var z = SamplerChoice.Of(kind, schedule.Config).Sample(ExactVelocity(schedule, 0.7, 0), schedule, Noise(), steps, Noise);
                // In one step, what shows is that σ ends at 4096 where the signal ends at 0.
                Close.Assert(full_like(z, 0.7), z, kind == SamplerKind.Pndm ? 0.04 : steps == 1 ? 1e-3 : 1e-5, $"{kind}, {steps} steps");
            }
    }

    /// <summary>
    /// Methods without noise come to what the exact solution of the ODE makes of the first noise; those with it to the Gaussian's mean and deviation.
    /// </summary>
    [TestMethod]
    [DataRow(SamplerKind.Ddim, 0.16, 0.07)]
    [DataRow(SamplerKind.Ddpm, 0.21, 0.12)]
    [DataRow(SamplerKind.Pndm, 0.15, 0.06)]
    [DataRow(SamplerKind.Euler, 0.16, 0.07)]
    [DataRow(SamplerKind.EulerAncestral, 0.21, 0.12)]
    [DataRow(SamplerKind.DpmSolver, 0.14, 0.02)]
    [DataRow(SamplerKind.DpmSolverKarras, 0.05, 0.05)]
    [DataRow(SamplerKind.UniPc, 0.13, 0.02)]
    public void Sample_VelocityFromAlmostNoSignal_OfAGaussianIsThatGaussian(SamplerKind kind, double with10, double with25)
    {
        foreach (var schedule in AlmostNoSignal())
            foreach (var (steps, tolerance) in new[] { (10, with10), (25, with25) })
                Assert.IsTrue(GaussianError(kind, schedule, steps) is var error && error < tolerance, $"{kind}, {steps} steps: {error}");
    }

    /// <summary>Some of them are at equal levels: the highest, at which σ stays finite.</summary>
    [TestMethod]
    [DataRow(SamplerKind.Ddim)]
    [DataRow(SamplerKind.Ddpm)]
    [DataRow(SamplerKind.Pndm)]
    [DataRow(SamplerKind.Euler)]
    [DataRow(SamplerKind.DpmSolver)]
    [DataRow(SamplerKind.UniPc)]
    public void Sample_TrailingStepsThatDoNotDivideT_LoseNothing(SamplerKind kind)
    {
        foreach (var schedule in AlmostNoSignal())
            Assert.IsTrue(GaussianError(kind, schedule, 600) is var error && error < 0.02, $"{error}");
    }

    /// <summary>Linear schedules that end in almost nothing but noise, and in nothing else; for models of the velocity.</summary>
    private static IEnumerable<NoiseSchedule> AlmostNoSignal()
    {
        var config = Config("v_prediction", ("timestep_spacing", "trailing"), ("final_sigmas_type", "zero")) with
        {
            BetaSchedule = "linear", BetaStart = 1e-4, BetaEnd = 0.03,
        };
        return [new(config), new(config with { RescaleBetasZeroSnr = true })];
    }

    /// <summary>How far a method is from the truth about N(0.7, 0.5²).</summary>
    private static double GaussianError(SamplerKind kind, NoiseSchedule schedule, int steps)
    {
        const double Mean = 0.7, Deviation = 0.5;
        using var scope = NewDisposeScope();
        using var generator = new Generator(5, CPU);
        Tensor Noise() => randn([1, 4, 8, 16, 16], generator: generator);
        var noise = Noise();
        var z = SamplerChoice.Of(kind, schedule.Config).Sample(ExactVelocity(schedule, Mean, Deviation), schedule, noise, steps, Noise);
        return kind is SamplerKind.Ddpm or SamplerKind.EulerAncestral
            ? Math.Abs(z.mean().item<float>() - Mean) + Math.Abs(z.std().item<float>() - Deviation)
            : (z - (Mean + Deviation * noise)).square().mean().sqrt().item<float>();
    }

    /// <summary>E[v | z_t] of data N(mean, deviation²).</summary>
    private static Denoiser ExactVelocity(NoiseSchedule schedule, double mean, double deviation) => (z, t) =>
    {
        var level = double.IsInteger(t) ? schedule.Level((int)t) : NoiseLevel.OfRatio(schedule.Sigma(t));
        var away = (z - level.Signal * mean) / (Math.Pow(level.Signal * deviation, 2) + Math.Pow(level.Noise, 2));
        return level.Signal * level.Noise * away - level.Noise * (mean + level.Signal * deviation * deviation * away);
    };

    [TestMethod]
    [DynamicData(nameof(Kinds))]
    public void Sample_FromASource_BeginsWithItAtTheNoiseOfTheFirstStepTaken(SamplerKind kind)
    {
        if (kind == SamplerKind.Pndm)
            return;                                                                       // see SamplerChoice.Problem
        using var scope = NewDisposeScope();
        var schedule = new NoiseSchedule(Config("epsilon", ("timestep_spacing", "trailing")));
        var sampler = SamplerChoice.Of(kind, schedule.Config);
        var (clean, noise) = (randn([1, 2, 3, 4, 4]), randn([1, 2, 3, 4, 4]));
        var (times, steps) = (new List<double>(), new List<int>());
        Tensor? first = null;
        sampler.Sample((z, t) =>
        {
            times.Add(t);
            first ??= z.clone().MoveToOtherDisposeScope(scope);
            return noise.alias();
        }, schedule, noise, 10, () => randn([1, 2, 3, 4, 4]), steps.Add, (clean, Skipped: 7));
        CollectionAssert.AreEqual(sampler.Timesteps(schedule, 10).Skip(7).ToArray(), times);
        CollectionAssert.AreEqual(new[] { 1, 2, 3 }, steps);
        var level = NoiseLevel.OfRatio(schedule.Sigma(times[0]));
        Close.Assert(level.Signal * clean + level.Noise * noise, first!, kind == SamplerKind.DpmSolverKarras ? 0.02 : 1e-5);    // whose times are rounded
    }

    [TestMethod]
    public void Problem_StrengthBelow1_IsOfPndmAlone()
    {
        var schedule = new NoiseSchedule(Config());
        Assert.Contains("Strength is 0.5", SamplerChoice.Problem(SamplerKind.Pndm, schedule, 10, leavesOut: "Strength is 0.5")!);
        foreach (var kind in Enum.GetValues<SamplerKind>().Where(kind => kind != SamplerKind.Pndm))
            Assert.IsNull(SamplerChoice.Problem(kind, schedule, 10, leavesOut: "Strength is 0.5"), $"{kind}");
    }

    [TestMethod]
    [DynamicData(nameof(Kinds))]
    public void Timesteps_Trailing_BeginWithTheLast(SamplerKind kind)
    {
        foreach (var schedule in AlmostNoSignal())
            foreach (int steps in new[] { 1, 2, 10, 25, 30 })
                Assert.AreEqual(schedule.Steps - 1, SamplerChoice.Of(kind, schedule.Config).Timesteps(schedule, steps)[0], $"{steps} steps");
    }

    [TestMethod]
    [DynamicData(nameof(Kinds))]
    public void Sample_OverAndOver_KeepsNothingButTheResult(SamplerKind kind)
    {
        using var scope = NewDisposeScope();
        var (schedule, noise) = (new NoiseSchedule(Config()), randn(2, 3));
        var sampler = SamplerChoice.Of(kind, schedule.Config);
        var before = noise.clone();
        long tensors = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        using (sampler.Sample((z, _) => 0.1 * z, schedule, noise, 8, () => randn(2, 3)))
            Assert.AreEqual(tensors + 1, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
        Close.Assert(before, noise, 0);
    }

    [TestMethod]
    [DataRow(SamplerKind.Ddpm)]
    [DataRow(SamplerKind.EulerAncestral)]
    [DataRow(SamplerKind.Lcm)]
    public void Sample_NoiseAddedAndNoneGiven_IsRefused(SamplerKind kind)
    {
        using var scope = NewDisposeScope();
        var schedule = new NoiseSchedule(Config());
        StringAssert.Contains(Assert.ThrowsExactly<ArgumentNullException>(
            () => SamplerChoice.Of(kind, schedule.Config).Sample((z, _) => z.alias(), schedule, ones(2), 4)).Message, "adds noise");
    }

    /// <summary>In even steps of λ, twice as many divide the error by 2^order.</summary>
    [TestMethod]
    [DataRow(1)]
    [DataRow(2)]
    public void Sample_TwiceTheSteps_HasTheErrorOfItsOrder(int order)
    {
        using var scope = NewDisposeScope();
        var schedule = new NoiseSchedule(Config("sample"));
        double Sample(Sampler sampler, int steps)
            => sampler.Sample((z, _) => (0.5 * z).sin(), schedule, full(1, 1.5, ScalarType.Float64), steps).item<double>();
        double exact = Sample(new DpmSolverSampler { Order = 3, SigmaSpacing = SigmaSpacing.LogSnr }, 500);
        foreach (Sampler sampler in new Sampler[]
        {
            new DpmSolverSampler { Order = order, SigmaSpacing = SigmaSpacing.LogSnr },
            new UniPcSampler { Order = order, SigmaSpacing = SigmaSpacing.LogSnr },
        })
        {
            double coarse = Math.Abs(Sample(sampler, 20) - exact), fine = Math.Abs(Sample(sampler, 40) - exact);
            Assert.IsTrue(coarse > Math.Pow(2, order - 0.5) * fine, $"{sampler}: {coarse}, then {fine}");
        }
    }

    [TestMethod]
    [DataRow("leading", "751 501 251 1")]
    [DataRow("trailing", "999 749 499 249")]
    [DataRow("linspace", "999 666 333 0")]
    public void Timesteps_OfEachSpacing_AreThoseOfThePaper(string spacing, string expected)
    {
        var config = Config("epsilon", ("timestep_spacing", spacing));
        var schedule = new NoiseSchedule(config);
        foreach (var kind in new[] { SamplerKind.Ddim, SamplerKind.Ddpm, SamplerKind.Euler, SamplerKind.EulerAncestral })
            Assert.AreEqual(expected, string.Join(' ', SamplerChoice.Of(kind, config).Timesteps(schedule, 4)), $"{kind}");
    }

    [TestMethod]
    [DataRow("DDIMScheduler", typeof(DdimSampler))]
    [DataRow("DDPMScheduler", typeof(DdpmSampler))]
    [DataRow("PNDMScheduler", typeof(PndmSampler))]
    [DataRow("EulerDiscreteScheduler", typeof(EulerSampler))]
    [DataRow("EulerAncestralDiscreteScheduler", typeof(EulerAncestralSampler))]
    [DataRow("DPMSolverMultistepScheduler", typeof(DpmSolverSampler))]
    [DataRow("UniPCMultistepScheduler", typeof(UniPcSampler))]
    [DataRow("LCMScheduler", typeof(LcmSampler))]
    [DataRow("HeunDiscreteScheduler", typeof(DdimSampler))]
    public void Of_ClassOfTheConfig_IsItsSampler(string className, Type expected)
    {
        var config = Config() with { ClassName = className };
        Assert.IsInstanceOfType(SamplerChoice.Of(null, config), expected);
        Assert.IsInstanceOfType<LcmSampler>(SamplerChoice.Of(SamplerKind.Lcm, config));
    }

    [TestMethod]
    [DataRow(SamplerKind.Ddim, "timestep_spacing", "random")]
    [DataRow(SamplerKind.Ddim, "thresholding", true)]
    [DataRow(SamplerKind.Ddpm, "variance_type", "learned")]
    [DataRow(SamplerKind.DpmSolver, "algorithm_type", "sde-dpmsolver")]
    [DataRow(SamplerKind.DpmSolver, "solver_order", 4)]
    [DataRow(SamplerKind.DpmSolver, "lambda_min_clipped", -5.1)]
    [DataRow(SamplerKind.Euler, "interpolation_type", "log_linear")]
    [DataRow(SamplerKind.Euler, "final_sigmas_type", "sigma_min")]
    [DataRow(SamplerKind.DpmSolver, "use_beta_sigmas", true)]
    [DataRow(SamplerKind.UniPc, "disable_corrector", new[] { 0 })]
    public void Of_SettingThatIsNotSupported_IsRefusedByName(SamplerKind kind, string key, object value)
        => StringAssert.Contains(Assert.ThrowsExactly<NotSupportedException>(() => SamplerChoice.Of(kind, Config("epsilon", (key, value)))).Message, key);

    [TestMethod]
    [DataRow(SamplerKind.DpmSolver, "algorithm_type", "dpmsolver")]
    [DataRow(SamplerKind.UniPc, "predict_x0", false)]
    public void Of_NoiseExtrapolatedToTheVeryEnd_IsRefused(SamplerKind kind, string key, object value)
        => StringAssert.Contains(Assert.ThrowsExactly<NotSupportedException>(
            () => SamplerChoice.Of(kind, Config("epsilon", (key, value), ("final_sigmas_type", "zero")))).Message, "final_sigmas_type");

    [TestMethod]
    public void Of_SettingOfAnotherType_IsRefusedByName()
        => StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(
            () => SamplerChoice.Of(SamplerKind.UniPc, Config("epsilon", ("solver_order", "two")))).Message, "solver_order is \"two\"");

    [TestMethod]
    [DataRow(SamplerKind.Ddim, 1001)]
    [DataRow(SamplerKind.UniPc, 1000)]
    [DataRow(SamplerKind.Lcm, 51)]
    [DataRow(SamplerKind.Pndm, 0)]
    public void Timesteps_TooManyOrNone_AreRefused(SamplerKind kind, int steps)
        => Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => SamplerChoice.Of(kind, Config()).Timesteps(new NoiseSchedule(Config()), steps));
}
