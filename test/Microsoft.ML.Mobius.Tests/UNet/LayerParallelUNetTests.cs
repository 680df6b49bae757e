using Microsoft.ML.Mobius.UNet;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.UNet;

[TestClass]
public sealed class LayerParallelUNetTests
{
    private static readonly UNetConfig s_config = Tiny.UNet with { Layout = UNetLayout.LayerParallel };

    [TestMethod]
    public void Names_OfTheTemporalLayers_AreTheSerialOnesAndProjections()
    {
        using var serial = new TemporalStream(Tiny.UNet with { Layout = UNetLayout.Serial });
        using var parallel = new TemporalStream(s_config);
        var (usual, own) = (serial.state_dict(), parallel.state_dict());
        Assert.IsTrue(usual.All(pair => own[pair.Key].shape.SequenceEqual(pair.Value.shape)));
        string[] layers = [.. usual.Keys.Where(name => name.EndsWith("conv1.0.weight")).Select(name => name.Replace("conv1.0.weight", "proj_conv"))];
        CollectionAssert.AreEquivalent(
            layers.SelectMany(layer => new[] { "0.weight", "0.bias", "2.weight", "2.bias" }.Select(part => $"{layer}.{part}")).ToArray(),
            own.Keys.Except(usual.Keys).ToArray());
        CollectionAssert.AreEqual(new long[] { 32, 64, 3, 1, 1 }, own["up_blocks.0.temp_convs.0.proj_conv.2.weight"].shape);
    }

    [TestMethod]
    [DataRow(UNetLayout.Serial)]
    [DataRow(UNetLayout.LayerParallel)]
    [DataRow(UNetLayout.StreamParallel)]
    public void LayoutOf_NamesOfEachLayout_IsTheLayout(UNetLayout layout)
    {
        using var temporal = new TemporalStream(Tiny.UNet with { Layout = layout });
        Assert.AreEqual(layout, VideoUNet.LayoutOf(temporal.state_dict().Keys));
    }

    [TestMethod]
    public void Forward_TwoClips_AreIndependent()
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        random.manual_seed(1);
        using var unet = VideoUNet.Around(Tiny.Spatial(Tiny.UNet), s_config with { TemporalText = true });
        foreach (var parameter in unet.Temporal.parameters())
            parameter.add_(randn_like(parameter) * 0.05);
        var (z, t, text) = (randn([2, 4, 3, 9, 7]), tensor([3L, 900L]), randn([2, 5, 16]));
        var both = unet.call(z, t, text);
        for (int i = 0; i < 2; i++)
            Close.Assert(unet.call(z[i..(i + 1)], t[i..(i + 1)], text[i..(i + 1)]), both[i..(i + 1)], 1e-4, $"clip {i}");
    }

    [TestMethod]
    public void Backward_AtTheStart_MovesEveryProjection()
    {
        using var scope = NewDisposeScope();
        random.manual_seed(1);
        using var unet = VideoUNet.Around(Tiny.Spatial(Tiny.UNet), s_config);
        unet.call(randn([2, 4, 3, 8, 8]), tensor([3L, 900L]), randn([2, 5, 16])).square().mean().backward();
        foreach (var (name, parameter) in unet.Temporal.named_parameters().Where(pair => pair.name.EndsWith("proj_conv.2.weight") || pair.name.EndsWith("proj_out.weight")))
            Assert.IsTrue(parameter.grad!.abs().sum().item<float>() > 0, name);
        Assert.IsTrue(unet.Spatial.parameters().All(p => !p.requires_grad && p.grad is null));
    }
}
