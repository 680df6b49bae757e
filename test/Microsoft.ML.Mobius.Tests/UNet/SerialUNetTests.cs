using Microsoft.ML.Mobius.Layers;
using Microsoft.ML.Mobius.UNet;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.UNet;

[TestClass]
public sealed class SerialUNetTests
{
    [TestMethod]
    [DataRow(false)]
    [DataRow(true)]
    public void Forward_AtTheStart_IsTheImageModel(bool told)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        random.manual_seed(1);
        var spatial = Tiny.Spatial(Tiny.UNet);
        using var unet = VideoUNet.Around(spatial, Tiny.UNet with { Layout = UNetLayout.Serial, TemporalText = told, FramePositions = told });
        var (z, text) = (randn([1, 4, 3, 8, 8]), randn([1, 5, 16]));
        var expected = spatial.call(Axes.FramesToBatch(z), full([3], 400, ScalarType.Int64), text);
        Close.Assert(Axes.BatchToFrames(expected, 3), unet.call(z, full([1], 400, ScalarType.Int64), text), 0);
    }
}
