using Microsoft.ML.Mobius.UNet;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.UNet;

/// <summary>The published networks at full size, without memory for their weights: on the meta device, where tensors have shapes alone.</summary>
[TestClass]
public sealed class FullSizeTests
{
    private static readonly UNetConfig s_image = new()
    {
        DownBlockTypes = ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        UpBlockTypes = ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        BlockOutChannels = [320, 640, 1280, 1280], CrossAttentionDim = 768, AttentionHeadDim = 8, SampleSize = 64,
    };

    private static readonly UNetConfig s_video = s_image with
    {
        ClassName = "UNet3DConditionModel", DiffusersVersion = "0.15.0.dev0", CrossAttentionDim = 1024, AttentionHeadDim = 64, SampleSize = 32, Layout = UNetLayout.Serial,
        DownBlockTypes = ["CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"],
        UpBlockTypes = ["UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D"],
    };

    [TestMethod]
    public void StableDiffusion15_HasItsTensors()
    {
        var shapes = Shapes(() => new SpatialStream(s_image));
        Assert.HasCount(686, shapes);
        Assert.AreEqual(859_520_964, Parameters(shapes));
        CollectionAssert.AreEqual(new long[] { 320, 320, 1, 1 }, shapes["down_blocks.0.attentions.0.proj_in.weight"]);
    }

    [TestMethod]
    public void StableDiffusion21_HasItsTensors()
    {
        var shapes = Shapes(() => new SpatialStream(
            s_image with { AttentionHeadDim = new[] { 5, 10, 20, 20 }, CrossAttentionDim = 1024, UseLinearProjection = true, SampleSize = 96 }));
        Assert.HasCount(686, shapes);
        Assert.AreEqual(865_910_724, Parameters(shapes));
        CollectionAssert.AreEqual(new long[] { 320, 320 }, shapes["down_blocks.0.attentions.0.proj_in.weight"]);
    }

    [TestMethod]
    public void TextToVideo17B_HasItsTensors()
    {
        var (spatial, temporal) = (Shapes(() => new SpatialStream(s_video)), Shapes(() => new TemporalStream(s_video)));
        Assert.AreEqual(1480, spatial.Count + temporal.Count);
        Assert.AreEqual(1_411_233_860, Parameters(spatial) + Parameters(temporal));
        CollectionAssert.AreEqual(new long[] { 512, 320 }, temporal["transformer_in.proj_in.weight"]);
        Assert.IsTrue(temporal.Keys.All(Golden.IsTemporal));
        Assert.IsFalse(spatial.Keys.Any(Golden.IsTemporal));
    }

    private static Dictionary<string, long[]> Shapes(Func<nn.Module> build)
    {
        long before = Memory.Resident();
        var device = get_default_device();
        set_default_device(META);
        try
        {
            using var module = build();
            Assert.IsTrue(module.parameters().All(parameter => parameter.device_type == DeviceType.META));
            Assert.IsTrue(Memory.Resident() - before < 200 << 20, "Weights were allocated.");
            return module.state_dict().ToDictionary(pair => pair.Key, pair => pair.Value.shape);
        }
        finally
        {
            set_default_device(device);
        }
    }

    private static long Parameters(Dictionary<string, long[]> shapes) => shapes.Values.Sum(shape => shape.Aggregate(1L, (a, b) => a * b));
}
