using Microsoft.ML.Mobius.Diffusion;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Diffusion;

[TestClass]
public sealed class GuidanceTests
{
    [TestMethod]
    [DataRow(1.0)]
    [DataRow(3.0)]
    public void Guided_TwoTexts_LeadsFromTheNegativeToThePositive(double scale)
    {
        using var scope = NewDisposeScope();
        Tensor Model(Tensor z, double t, Tensor text) => z + t + text.mean([1, 2]).reshape(-1, 1);
        var guided = Guidance.Guided(Model, full([1, 2, 2], 10f), full([1, 2, 2], 20f), scale);
        Assert.AreEqual(1 + 7 + 10 + scale * 10, guided(ones(1, 1), 7).item<float>(), 1e-5);
    }
}
