using Microsoft.ML.Mobius.Layers;
using Microsoft.ML.Mobius.UNet;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Layers;

[TestClass]
public sealed class FrameCircleTests
{
    [TestMethod]
    [DataRow(8, "0 2 4 6 7 5 3 1")]
    [DataRow(5, "0 2 4 3 1")]
    [DataRow(2, "0 1")]
    [DataRow(1, "0")]
    public void Places_OfFrames_GoThereAndBack(int frames, string expected)
        => Assert.AreEqual(expected, string.Join(' ', FrameCircle.Places(frames, CPU).data<long>().ToArray()));

    [TestMethod]
    public void Closed_Frames_HaveTheLastBeforeTheFirst()
        => Assert.AreEqual("2 0 1 2 0", string.Join(' ', FrameCircle.Closed(arange(3), 0).data<long>().ToArray()));

    [TestMethod]
    [DataRow(UNetLayout.Serial)]
    [DataRow(UNetLayout.LayerParallel)]
    [DataRow(UNetLayout.StreamParallel)]
    public void LoopFrames_AnyLayout_GivesAllFramesTheSamePart(UNetLayout layout)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        using var model = Tiny.Learnt(layout);
        var (z, t, text) = (randn([1, 4, 5, 8, 8]), full([1], 400, ScalarType.Int64), randn([1, 5, 16]));
        Tensor Rolled(Tensor x) => x.roll([2], [2]);
        double Differs() => (Rolled(model.UNet.call(z, t, text)) - model.UNet.call(Rolled(z), t, text)).abs().max().item<float>();

        Assert.IsGreaterThan(1e-3, Differs(), "With two ends it counts which frame is the first.");
        model.UNet.LoopFrames(true);
        Assert.IsLessThan(1e-5, Differs());
    }

    [TestMethod]
    public void FramesLoop_PlacesTold_AreThoseOfTheCircle()
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        using var table = new FrameTable(4, 8);
        using var transformer = new TemporalTransformer(8, heads: 2, groups: 2, positions: true);
        var x = randn([5, 8, 3, 2]);
        var circle = FrameCircle.Places(5, CPU);
        // What a layer with two ends makes of the frames in the order of their places.
        var ordered = transformer.call(x.index_select(0, circle.argsort()), 5, null).index_select(0, circle);
        var places = table.call(zeros([1, 5, 4]))[0].index_select(0, circle);
        (table.FramesLoop, transformer.FramesLoop) = (true, true);
        Close.Assert(ordered, transformer.call(x, 5, null), 1e-6);
        Close.Assert(places, table.call(zeros([1, 5, 4]))[0], 0);
    }
}
