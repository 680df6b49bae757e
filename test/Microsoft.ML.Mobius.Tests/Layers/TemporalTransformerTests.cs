using Microsoft.ML.Mobius.Layers;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Layers;

[TestClass]
public sealed class TemporalTransformerTests
{
    [TestMethod]
    [DataRow(false)]
    [DataRow(true)]
    public void Forward_FramesInAnotherOrder_IsTheSameInThatOrder_UnlessPlacesAreTold(bool positions)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        random.manual_seed(1);
        using var layer = new TemporalTransformer(8, heads: 2, groups: 4, positions: positions);
        var (x, order) = (randn([4, 8, 3, 2]), tensor([2L, 0, 3, 1]));

        double difference = (layer.call(x[order], 4, null) - layer.call(x, 4, null)[order]).abs().max().item<float>();

        Assert.AreEqual(positions, difference > 1e-2, $"{difference}");
        Assert.IsTrue(positions || difference < 1e-5, $"{difference}");
    }

    [TestMethod]
    public void Forward_Text_IsRead()
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        random.manual_seed(1);
        using var layer = new TemporalTransformer(8, heads: 2, groups: 4, contextChannels: 6);
        var x = randn([8, 8, 3, 2]);                                                       // two videos of 4 frames
        var (a, b) = (randn([2, 5, 6]), randn([2, 5, 6]));
        var mixed = layer.call(x, 4, stack([a[0], b[1]]));
        Assert.IsTrue(layer.call(x, 4, a)[..4].equal(mixed[..4]).all().item<bool>());
        Assert.IsTrue((layer.call(x, 4, a)[4..] - mixed[4..]).abs().max().item<float>() > 1e-3);
    }
}
