using Microsoft.ML.Mobius.Training;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Training;

[TestClass]
public sealed class GradientNormTests
{
    [TestMethod]
    [DataRow(1e-3)]
    [DataRow(0.7)]
    [DataRow(1e3)]
    public void Clip_AnyNorm_IsLibtorchsClippingBitForBit(double most)
    {
        using var scope = NewDisposeScope();
        var (mine, theirs) = (Parameters(), Parameters());
        double norm = GradientNorm.Clip(mine, most).item<float>();
        Assert.AreEqual(nn.utils.clip_grad_norm_(theirs, most), norm);
        foreach (var (one, other) in mine.Zip(theirs))
            Assert.IsTrue(one.grad is null ? other.grad is null : one.grad.equal(other.grad!).all().item<bool>());
        Assert.AreEqual(most < norm, GradientNorm.Of(mine).item<float>() < norm);
    }

    [TestMethod]
    public void Clip_NotFinite_GivesSo()
    {
        using var scope = NewDisposeScope();
        var parameters = Parameters();
        parameters[0].grad!.fill_(float.PositiveInfinity);
        Assert.IsFalse(double.IsFinite(GradientNorm.Clip(parameters, 1).item<float>()));
    }

    [TestMethod]
    public void Of_NoGradients_IsZero()
    {
        using var scope = NewDisposeScope();
        Assert.AreEqual(0, GradientNorm.Of([]).item<float>());
    }

    /// <summary>Four, of which one has no gradient.</summary>
    private static Parameter[] Parameters()
    {
        random.manual_seed(1);
        Parameter[] parameters = [.. new long[][] { [7, 5], [3], [2, 4, 3], [11] }.Select(shape => nn.Parameter(randn(shape)))];
        foreach (var parameter in parameters[..3])
            parameter.grad = randn(parameter.shape);
        return parameters;
    }
}
