using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Weights;

[TestClass]
public sealed class CompactWeightsTests
{
    [TestMethod]
    [DataRow(ScalarType.Float16)]
    [DataRow(ScalarType.BFloat16)]
    public void Weights_Of16Bits_ComputeTheSameBitForBitAndComeBack(ScalarType type)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        random.manual_seed(1);
        using var spatial = Tiny.Spatial(Tiny.UNet);
        foreach (var parameter in spatial.parameters())
            parameter.copy_(parameter.to(type));
        var (z, t, text) = (randn([3, 4, 8, 8]), tensor([3L, 900L, 40L]), randn([3, 5, 16]));
        var expected = spatial.call(z, t, text);
        var before = spatial.named_parameters().ToDictionary(p => p.name, p => p.parameter.clone());

        using (var compact = new CompactWeights(spatial))
        {
            int layers = spatial.named_modules().Count(named => named.module is Linear or Conv2d);
            Assert.AreEqual(layers, compact.Count);
            Assert.AreEqual(2 * spatial.named_modules().Where(named => named.module is Linear or Conv2d)
                .Sum(named => named.module.get_parameter("weight")!.numel()), compact.BytesSaved);
            var weight = spatial.named_parameters().First(p => p.name.EndsWith("conv1.weight", StringComparison.Ordinal)).parameter;
            Assert.AreEqual(0f, weight.abs().max().item<float>(), "The weight is not put away.");
            for (int i = 0; i < 2; i++)
                Assert.IsTrue(expected.equal(spatial.call(z, t, text)).all().item<bool>());
            var threads = Enumerable.Range(0, 4).Select(_ => new Thread(() =>
            {
                using var inner = NewDisposeScope();
                using var noGrad = no_grad();
                spatial.call(z, t, text);
            })).ToList();
            threads.ForEach(thread => thread.Start());
            Assert.IsTrue(expected.equal(spatial.call(z, t, text)).all().item<bool>(), "Another thread has put a weight away.");
            threads.ForEach(thread => thread.Join());
        }

        foreach (var (name, parameter) in spatial.named_parameters())
            Assert.IsTrue(before[name].equal(parameter).all().item<bool>(), name);
        Assert.IsTrue(expected.equal(spatial.call(z, t, text)).all().item<bool>());
    }

    [TestMethod]
    public void Weights_OfMoreBits_StayAsTheyAre()
    {
        using var scope = NewDisposeScope();
        random.manual_seed(1);
        using var spatial = Tiny.Spatial(Tiny.UNet);
        using var compact = new CompactWeights(spatial);
        Assert.AreEqual((0, 0L), (compact.Count, compact.BytesSaved));
    }
}
