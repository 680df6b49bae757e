using Microsoft.ML.Mobius.Layers;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Layers;

[TestClass]
public sealed class TransformerBlockTests
{
    /// <summary>Where nothing is recorded the feed-forward of so many numbers is computed in pieces.</summary>
    [TestMethod]
    [DataRow(64, true)]
    [DataRow(3, true)]
    [DataRow(2, false)]
    public void Forward_Unrecorded_IsTheSameInPieces(int rows, bool inPieces)
    {
        using var scope = NewDisposeScope();
        random.manual_seed(1);
        using var block = new TransformerBlock(channels: 64, heads: 2, contextChannels: null);
        var x = randn([rows, inPieces ? ((1 << 14) + rows - 1) / rows : 8, 64]);
        Assert.AreEqual(inPieces, TransformerBlock.IsInPieces(x.numel()));
        var expected = block.call(x, null);
        using (no_grad())
            Assert.IsLessThan(1e-5, (block.call(x, null) - expected).abs().max().item<float>());
        Assert.IsGreaterThan(0.1, expected.abs().max().item<float>());
    }
}
