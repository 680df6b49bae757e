using Microsoft.ML.Mobius.Diffusion;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Diffusion;

[TestClass]
public sealed class NoiseScheduleTests
{
    [TestMethod]
    public void AlphaBar_StableDiffusionsSchedule_HasItsValues()
    {
        var schedule = new NoiseSchedule(new NoiseScheduleConfig());
        Assert.AreEqual(1000, schedule.Steps);
        Assert.AreEqual(1 - 0.00085, schedule.AlphaBar(0), 1e-12);
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
    public void New_UnknownKinds_AreRefusedByName()
    {
        StringAssert.Contains(Assert.ThrowsExactly<NotSupportedException>(() => new NoiseSchedule(new NoiseScheduleConfig { BetaSchedule = "cubic" })).Message, "cubic");
        StringAssert.Contains(Assert.ThrowsExactly<NotSupportedException>(() => new NoiseSchedule(new NoiseScheduleConfig { PredictionType = "v_prediction" })).Message, "v_prediction");
    }
}
