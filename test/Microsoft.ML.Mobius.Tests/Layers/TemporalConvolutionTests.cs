using Microsoft.ML.Mobius.Layers;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Layers;

[TestClass]
public sealed class TemporalConvolutionTests
{
    [TestMethod]
    public void StateDict_OfANewLayer_HasDiffusersNamesOnce()
    {
        using var layer = new TemporalConvolution(4, 2, dropout: 0.1);
        string[] expected = ["conv1.0", "conv1.2", "conv2.0", "conv2.3", "conv3.0", "conv3.3", "conv4.0", "conv4.3"];
        CollectionAssert.AreEquivalent(expected.SelectMany(name => new[] { name + ".weight", name + ".bias" }).ToArray(), layer.state_dict().Keys.ToArray());
        Assert.AreEqual(16, layer.parameters().Count());
    }

    [TestMethod]
    public void Forward_NewLayer_IsTheIdentity()
    {
        using var layer = new TemporalConvolution(4, 2);
        using var scope = NewDisposeScope();
        var x = randn([6, 4, 2, 3]);
        Close.Assert(x, layer.call(x, 3), 0);
    }

    [TestMethod]
    public void Forward_NewLayerWithAProjection_IsZeroOrPassesTheNormOn()
    {
        using var layer = new TemporalConvolution(4, 2, inChannels: 6);
        using var scope = NewDisposeScope();
        layer.StartAtZero();
        Close.Assert(zeros([6, 4, 2, 3]), layer.call(randn([6, 6, 2, 3]), 3), 0);

        using var passage = new TemporalConvolution(4, 2, inChannels: 4);
        passage.StartAsPassage();
        var x = randn([6, 4, 2, 3]);
        var norm = nn.functional.group_norm(x.reshape(2, 3, 4, 6).transpose(1, 2), 2, eps: 1e-5).transpose(1, 2).reshape(x.shape);
        Close.Assert(nn.functional.silu(norm), passage.call(x, 3), 1e-6);
    }

    [TestMethod]
    public void Gradient_TemporalLayers_AgreesWithDifferences()
    {
        random.manual_seed(4);
        using var convolution = Random(new TemporalConvolution(4, 2).to(ScalarType.Float64));
        using var block = Random(new TransformerBlock(4, 2, 3).to(ScalarType.Float64));
        using var scope = NewDisposeScope();
        var text = randn([1, 3, 3], ScalarType.Float64);
        var images = randn([6, 4, 1, 2], ScalarType.Float64);
        Check(convolution, () => convolution.call(images, 3));
        using var projected = Random(new TemporalConvolution(4, 2, inChannels: 6).to(ScalarType.Float64));
        var wide = randn([6, 6, 1, 2], ScalarType.Float64);
        Check(projected, () => projected.call(wide, 3));
        var tokens = randn([2, 3, 4], ScalarType.Float64);
        Check(block, () => block.call(tokens, text));
    }

    /// <summary>d/dp of Σ w f along a random direction, against central differences.</summary>
    private static void Check(nn.Module module, Func<Tensor> f)
    {
        Tensor Value() => (f() * arange(1, f().numel() + 1, ScalarType.Float64).sin().reshape(f().shape)).sum();
        Value().backward();
        foreach (var (name, parameter) in module.named_parameters())
        {
            using var scope = NewDisposeScope();
            using var _ = no_grad();
            var direction = randn_like(parameter);
            double h = 1e-6, gradient = (parameter.grad! * direction).sum().item<double>();
            parameter.add_(direction * h);
            double up = Value().item<double>();
            parameter.sub_(direction * (2 * h));
            double down = Value().item<double>();
            parameter.add_(direction * h);
            double slope = (up - down) / (2 * h);
            Assert.AreEqual(slope, gradient, 1e-6 * Math.Max(1, Math.Abs(slope)), name);
        }
    }

    private static T Random<T>(T module) where T : nn.Module
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        foreach (var parameter in module.parameters())
            parameter.add_(randn_like(parameter) * 0.3);
        return module;
    }
}
