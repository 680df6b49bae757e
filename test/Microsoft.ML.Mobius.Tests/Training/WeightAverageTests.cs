using Microsoft.ML.Mobius.Training;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Training;

[TestClass]
public sealed class WeightAverageTests
{
    [TestMethod]
    public void Add_ThreeSteps_FollowsTheFormula()
    {
        using var scope = NewDisposeScope();
        var weight = new Parameter(tensor(new[] { 5f }));
        using var average = new WeightAverage([weight], decay: 0.2);
        double expected = 0;
        foreach (var (n, value, decay) in new[] { (1, 1f, 0.0), (2, 2f, 2 / 11.0), (3, 4f, 0.2) })
        {
            using (no_grad())
                weight.fill_(value);
            average.Add(n);
            expected = decay * expected + (1 - decay) * value;
        }
        Assert.AreEqual(expected, average.Averages[0].item<float>(), 1e-6);
    }

    [TestMethod]
    public void Swap_Twice_BringsTheWeightsBack()
    {
        using var scope = NewDisposeScope();
        var weight = new Parameter(tensor(new[] { 1f }));
        using var average = new WeightAverage([weight], decay: 0.5);
        using (no_grad())
            weight.fill_(3);
        average.Swap();
        Assert.AreEqual((1f, 3f), (weight.item<float>(), average.Averages[0].item<float>()));
        average.Swap();
        Assert.AreEqual((3f, 1f), (weight.item<float>(), average.Averages[0].item<float>()));
    }
}
