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

    [TestMethod]
    public void Guided_Rescaled_HasTheDeviationOfThePositiveOne()
    {
        using var scope = NewDisposeScope();
        var (negative, positive) = (randn([1, 2, 3, 4, 4]), randn([1, 2, 3, 4, 4]));
        Tensor Sample(double rescale)
            => Guidance.Guided((_, _, _) => cat([negative, positive], 0), zeros(1, 2, 2), zeros(1, 2, 2), 5, rescale)(negative, 7);
        var (plain, half, whole) = (Sample(0), Sample(0.5), Sample(1));
        Close.Assert(negative + 5 * (positive - negative), plain, 1e-5);
        Close.Assert(plain * (positive.std() / plain.std()), whole, 1e-5);
        Close.Assert((plain + whole) / 2, half, 1e-5);
    }
}
