using Microsoft.ML.Mobius.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Torch;

/// <summary>libtorch has the settings without a GPU, too.</summary>
[TestClass]
public sealed class Tf32Tests
{
    private static (bool Products, bool Convolutions) Set => (backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32);

    [TestMethod]
    [DataRow(true)]
    [DataRow(false)]
    public void Allow_OnAGpu_LastsUntilDisposed(bool allow)
    {
        var before = Set;
        using (Tf32.Allow(allow, DeviceType.CUDA))
        {
            Assert.AreEqual((allow, allow), Set);
            Assert.AreEqual(allow, Tf32.Rounds(DeviceType.CUDA));
            Assert.IsFalse(Tf32.Rounds(DeviceType.CPU));
        }
        Assert.AreEqual(before, Set);
    }

    [TestMethod]
    public void Allow_OnTheCpu_SetsNothing()
    {
        var before = Set;
        using (Tf32.Allow(!before.Products, DeviceType.CPU))
            Assert.AreEqual(before, Set);
    }

    [TestMethod]
    public void Fit_OnTheCpu_IsTheSameBitForBit()
    {
        var tiny = new TinyPipeline();
        using TextToVideoTransformer one = tiny.Trainer().Fit(tiny.Clips()), other = tiny.Trainer(options => options.AllowTf32 = true).Fit(tiny.Clips());
        CollectionAssert.AreEqual(one.History.Losses.ToArray(), other.History.Losses.ToArray());
        TinyPipeline.AssertSame(one.Generate("a"), other.Generate("a"));
    }
}
