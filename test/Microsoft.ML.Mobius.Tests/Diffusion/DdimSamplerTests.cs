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

        var z = new DdimSampler().Sample((_, _) => full(1, (float)epsilon), schedule, noise, 1);

        Assert.AreEqual(schedule.AlphaBar(0), next);
        Assert.AreEqual(expected, z.item<float>(), 1e-6);
        Assert.AreEqual(2f, noise.item<float>());
    }

    [TestMethod]
    public void Sample_EtaOne_AddsTheNoiseOfDdpm()
    {
        using var scope = NewDisposeScope();
        var schedule = new NoiseSchedule(new NoiseScheduleConfig());
        Close.Assert(Last(new DdpmSampler()), Last(new DdimSampler { Eta = 1 }), 1e-3);

        Tensor Last(Sampler sampler)
        {
            using var generator = new Generator(3, CPU);
            var last = zeros(2, 3);
            sampler.Sample((z, t) =>
            {
                last.copy_(z);                                                            // but for the very last step, where the two end differently
                return 0.5 * z + t / 1000;
            }, schedule, ones(2, 3), 20, () => randn(2, 3, generator: generator));
            return last;
        }
    }
}
