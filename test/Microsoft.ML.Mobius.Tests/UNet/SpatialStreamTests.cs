using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.UNet;

[TestClass]
public sealed class SpatialStreamTests
{
    [TestMethod]
    public void Forward_LinearOrConvolutionProjections_GiveTheSame()
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        random.manual_seed(1);
        using var convolutions = Tiny.Spatial(Tiny.UNet);
        using var linear = new SpatialStream(Tiny.UNet with { UseLinearProjection = true });
        StateDict.Load(linear, StateDict.Of(convolutions).ToDictionary(pair => pair.Key,
            pair => pair.Key.EndsWith("proj_in.weight") || pair.Key.EndsWith("proj_out.weight") ? pair.Value.flatten(1) : pair.Value), "convolutions");
        var (z, t, text) = (randn([2, 4, 8, 6]), tensor([3L, 900L]), randn([2, 5, 16]));
        Close.Assert(convolutions.call(z, t, text), linear.call(z, t, text), 1e-5);
    }

    [TestMethod]
    public void Forward_HeadsPerLevel_AreOfTheLevelOnTheWayUpToo()
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        random.manual_seed(1);
        var config = Tiny.UNet with
        {
            DownBlockTypes = ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"], UpBlockTypes = ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
            AttentionHeadDim = new[] { 2, 8 },
        };
        var plan = new UNetPlan(config);
        CollectionAssert.AreEqual(new[] { 2, 8, 8, 8, 2 }, plan.Down.Append(plan.Mid).Concat(plan.Up).Select(level => level.Heads).ToArray());

        using var perLevel = Tiny.Spatial(config);
        using var one = new SpatialStream(config with { AttentionHeadDim = 8 });
        StateDict.Load(one, StateDict.Of(perLevel).ToDictionary(), "per level");
        var (z, t, text) = (randn([1, 4, 8, 8]), tensor([3L]), randn([1, 5, 16]));
        Assert.IsTrue(Close.Apart(perLevel.call(z, t, text), one.call(z, t, text)) > 1e-4, "The number of heads has no effect.");
    }
}
