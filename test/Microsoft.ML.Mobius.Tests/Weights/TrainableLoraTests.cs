using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Weights;

[TestClass]
public sealed class TrainableLoraTests
{
    private readonly DisposeScope _scope = NewDisposeScope();

    [TestInitialize]
    public void Start() => random.manual_seed(1);

    [TestCleanup]
    public void Dispose() => _scope.Dispose();

    [TestMethod]
    public void Constructor_Drawn_StartsAsNothing()
    {
        using var layer = nn.Linear(300, 5);
        var x = randn(2, 300);
        var before = layer.call(x);
        using var generator = new Generator(3, CPU);
        using var lora = new TrainableLora([("layer", layer)], rank: 4, alpha: 8, generator);
        var (down, up) = Pair(lora);
        Close.Assert(before, layer.call(x), 0);
        CollectionAssert.AreEqual(new long[] { 4, 300 }, down.shape);
        CollectionAssert.AreEqual(new long[] { 5, 4 }, up.shape);
        Assert.AreEqual(1 / 4.0, down.std().item<float>(), 0.02, "diffusers draws it with 1 / rank");
        Assert.AreEqual(0, up.abs().max().item<float>());
    }

    /// <summary>Output and gradients are W x + α / r · up down x written out, and merged it is the same.</summary>
    [TestMethod]
    public void Layer_WithIt_FollowsTheFormula()
    {
        using var layer = nn.Linear(6, 5);
        layer.weight!.requires_grad = layer.bias!.requires_grad = false;
        using var generator = new Generator(3, CPU);
        var lora = new TrainableLora([("layer", layer)], rank: 2, alpha: 3, generator);
        var (down, up) = Pair(lora);
        using (no_grad())
            up.copy_(randn(5, 2));
        var (x, target) = (randn(4, 7, 6), randn(4, 7, 5));
        var y = layer.call(x);
        (y - target).square().mean().backward();

        var (a, b) = (down.detach().clone().requires_grad_(true), up.detach().clone().requires_grad_(true));
        var expected = x.matmul((layer.weight! + 3 / 2.0 * b.matmul(a)).t()) + layer.bias!;
        (expected - target).square().mean().backward();
        Close.AssertRelative(expected, y, 1e-6);
        Close.AssertRelative(a.grad!, down.grad!, 1e-5);
        Close.AssertRelative(b.grad!, up.grad!, 1e-5);
        Assert.IsNull(layer.weight!.grad);

        lora.Match().MergeInto(1);
        lora.Dispose();
        Close.AssertRelative(expected, layer.call(x), 1e-5);
    }

    [TestMethod]
    public void Dispose_TakesItOffAndFreesIt()
    {
        using var layer = nn.Linear(6, 5);
        var x = randn(2, 6);
        var before = layer.call(x);
        using var generator = new Generator(3, CPU);
        var lora = new TrainableLora([("layer", layer)], rank: 2, alpha: 2, generator);
        var (down, up) = Pair(lora);
        using (no_grad())
            up.fill_(1);
        Assert.IsGreaterThan(0.01, Close.Apart(before, layer.call(x)));
        lora.Dispose();
        Close.Assert(before, layer.call(x), 0);
        Assert.IsTrue(down.IsInvalid && up.IsInvalid);
    }

    /// <summary>diffusers' own file has a LoRA on all attentions of a 3D U-Net, spatial and temporal; ours has the feed-forwards and projections of the temporal ones, too.</summary>
    [TestMethod]
    public void Write_OfA3DUNet_HasTheNamesAndShapesThatDiffusersWrites()
    {
        using var golden = new Golden("lora_unet3d");
        using var unet = golden.Video(golden.ConfigFile, golden.WeightsFile);
        var published = golden.Tensors("peft_format_pytorch_lora_weights.safetensors").ToDictionary(pair => pair.Key, pair => string.Join(' ', pair.Value.shape));
        Dictionary<string, string> Written(IEnumerable<(string, TorchSharp.Modules.Linear)> layers)
        {
            using var generator = new Generator(3, CPU);
            using var lora = new TrainableLora(layers, golden.Case!["rank"]!.GetValue<int>(), 4, generator);
            using var stream = new MemoryStream();
            lora.Match().Write(stream);
            stream.Position = 0;
            return SafetensorsHeader.Read(stream, "").Entries.ToDictionary(entry => entry.Name, entry => string.Join(' ', entry.Shape));
        }

        var (spatial, temporal) = (Written(unet.SpatialAttentions()), Written(unet.TemporalLinears()));
        CollectionAssert.AreEquivalent(published.Where(pair => !Golden.IsTemporal(pair.Key)).ToArray(), spatial.ToArray());
        foreach (var (key, shape) in published.Where(pair => Golden.IsTemporal(pair.Key)))
            Assert.AreEqual(shape, temporal.GetValueOrDefault(key), key);
        foreach (string key in temporal.Keys.Where(key => !published.ContainsKey(key)))
            Assert.MatchesRegex(@"\.(proj_in|proj_out|ff\.net\.0\.proj|ff\.net\.2)\.lora_[AB]\.weight$", key);
    }

    private static (Tensor Down, Tensor Up) Pair(TrainableLora lora) => lora.parameters().ToArray() is [var down, var up] ? (down, up)
        : throw new AssertFailedException("There must be two matrices.");
}
