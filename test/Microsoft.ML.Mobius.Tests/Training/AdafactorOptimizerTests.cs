using Microsoft.ML.Mobius.Training;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Training;

[TestClass]
public sealed class AdafactorOptimizerTests
{
    private const double Rate = 0.02, Decay = 0.1;

    /// <summary>Against the paper's algorithms in numbers of double precision, with sums of rows and columns as there. The third gradient is far larger, so that the update is limited.</summary>
    [TestMethod]
    [DataRow(new long[] { 6, 5 })]
    [DataRow(new long[] { 1, 4 })]
    [DataRow(new long[] { 4, 3, 3, 1, 1 })]
    [DataRow(new long[] { 3, 2, 3, 3 })]
    [DataRow(new long[] { 7 })]
    public void Step_AnyShape_IsThatOfThePaper(long[] shape)
    {
        using var scope = NewDisposeScope();
        random.manual_seed(1);
        using var parameter = new Parameter(randn(shape));
        using var optimizer = new AdafactorOptimizer(parameter, Decay);
        int rows = shape.Length == 1 ? 1 : (int)shape[0], columns = (int)parameter.numel() / rows;
        var x = Numbers(parameter);
        var (r, c, v) = (new double[rows], new double[columns], new double[columns]);
        for (int t = 1; t <= 4; t++)
        {
            using var gradient = randn(shape) * (t == 3 ? 100 : 1);
            var g = Numbers(gradient);
            parameter.grad = gradient;
            optimizer.Step(Rate);

            double beta = 1 - Math.Pow(t, -0.8);
            double Squared(int i, int j) => g[i * columns + j] * g[i * columns + j] + 1e-30;
            for (int i = 0; i < rows; i++)
                r[i] = beta * r[i] + (1 - beta) * Enumerable.Range(0, columns).Sum(j => Squared(i, j));
            for (int j = 0; j < columns; j++)
                c[j] = beta * c[j] + (1 - beta) * Enumerable.Range(0, rows).Sum(i => Squared(i, j));
            for (int j = 0; j < columns; j++)
                v[j] = beta * v[j] + (1 - beta) * Squared(0, j);
            double[] u = [.. g.Select((one, k) => one / Math.Sqrt(shape.Length == 1 ? v[k] : r[k / columns] * c[k % columns] / r.Sum()))];
            double rms = Math.Sqrt(u.Sum(one => one * one) / u.Length);
            x = [.. x.Select((one, k) => one - Rate * Decay * one - Rate * u[k] / Math.Max(1, rms))];

            Assert.IsTrue(t != 3 || rms > 1, "The update is not limited.");
            foreach (var (expected, actual) in x.Zip(Numbers(parameter)))
                Assert.AreEqual(expected, actual, 2e-6);
        }
        Assert.AreEqual(4, optimizer.Steps);
        Assert.AreEqual(shape.Length == 1 ? columns : rows + columns, optimizer.Moments.Sum(kept => kept.Moment.numel()));
    }

    [TestMethod]
    public void Step_NoGradientAtAll_MovesNothing()
    {
        using var scope = NewDisposeScope();
        using var parameter = new Parameter(ones(3, 2));
        using var optimizer = new AdafactorOptimizer(parameter, Decay);
        optimizer.Step(Rate);
        Assert.AreEqual(0, optimizer.Steps);
        parameter.grad = zeros(3, 2);
        optimizer.Step(Rate);
        Assert.IsTrue(Close.Apart(parameter, full([3, 2], 1 - Rate * Decay)) < 1e-6, "A gradient of zeros moves more than decay does.");
    }

    [TestMethod]
    public void Step_OverAndOver_KeepsNoTensors()
    {
        using var scope = NewDisposeScope();
        using var parameter = new Parameter(ones(3, 2));
        using var optimizer = new AdafactorOptimizer(parameter, Decay);
        using var gradient = randn(3, 2);
        parameter.grad = gradient;
        optimizer.Step(Rate);
        long before = Tensor.TotalCount;
        for (int i = 0; i < 5; i++)
            optimizer.Step(Rate);
        Assert.AreEqual(before, Tensor.TotalCount);
    }

    private static double[] Numbers(Tensor tensor) => [.. tensor.detach().to(ScalarType.Float64).reshape(-1).data<double>()];
}
