using Microsoft.ML.Mobius.Diffusion;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Diffusion;

[TestClass]
public sealed class DdimSamplerTests
{
    [TestMethod]
    public void Sample_OneStep_IsTheFormula()
    {
        using var scope = NewDisposeScope();
        var schedule = new NoiseSchedule(new NoiseScheduleConfig());
        var (noise, epsilon) = (tensor([2f]), 0.5);
        double now = schedule.AlphaBar(1), next = schedule.AlphaBar(-999);
        double expected = Math.Sqrt(next) * (2 - Math.Sqrt(1 - now) * epsilon) / Math.Sqrt(now) + Math.Sqrt(1 - next) * epsilon;

        var z = DdimSampler.Sample((_, _) => full(1, (float)epsilon), schedule, noise, 1);

        Assert.AreEqual(schedule.AlphaBar(0), next);
        Assert.AreEqual(expected, z.item<float>(), 1e-6);
        Assert.AreEqual(2f, noise.item<float>());
    }

    [TestMethod]
    public void Sample_TrueNoise_GivesTheCleanLatents()
    {
        using var scope = NewDisposeScope();
        var schedule = new NoiseSchedule(new NoiseScheduleConfig { SetAlphaToOne = true });
        var (clean, noise) = (randn([1, 2, 3, 4, 4]), randn([1, 2, 3, 4, 4]));
        int first = DdimSampler.Timesteps(schedule, 20).First();
        var z = DdimSampler.Sample((_, _) => noise.alias(), schedule, schedule.AddNoise(clean, noise, [first]), 20);
        Close.Assert(clean, z, 1e-4);
    }

    [TestMethod]
    [DataRow(1.0)]
    [DataRow(3.0)]
    public void Guided_TwoTexts_LeadsFromTheNegativeToThePositive(double scale)
    {
        using var scope = NewDisposeScope();
        Tensor Model(Tensor z, int t, Tensor text) => z + t + text.mean([1, 2]).reshape(-1, 1);
        var guided = Guidance.Guided(Model, full([1, 2, 2], 10f), full([1, 2, 2], 20f), scale);
        Assert.AreEqual(1 + 7 + 10 + scale * 10, guided(ones(1, 1), 7).item<float>(), 1e-5);
    }
}
