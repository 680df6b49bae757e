using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Weights;

[TestClass]
public sealed class LoraStackTests
{
    private readonly DisposeScope _scope = NewDisposeScope();

    [TestInitialize]
    public void Start() => random.manual_seed(1);

    [TestCleanup]
    public void Dispose() => _scope.Dispose();

    [TestMethod]
    [DataRow("linear", false)]
    [DataRow("linear", true)]
    [DataRow("pixel", false)]
    [DataRow("pixel", true)]
    [DataRow("convolution", false)]
    [DataRow("strided", false)]
    public void MergedAndLive_GiveTheSame(string kind, bool otherForm)
    {
        using nn.Module<Tensor, Tensor> layer = kind switch
        {
            "linear" => nn.Linear(6, 5),
            "pixel" => nn.Conv2d(6, 5, 1),
            "convolution" => nn.Conv2d(6, 5, 3, padding: 1),
            _ => nn.Conv2d(6, 5, 3, stride: 2, padding: 1),
        };
        var x = kind == "linear" ? randn(2, 7, 6) : randn(2, 6, 8, 8);
        long[] tail = kind switch { "linear" => otherForm ? [1, 1] : [], "pixel" => otherForm ? [] : [1, 1], _ => [3, 3] };
        var (down, up) = (randn([2, 6, .. tail]), randn([5, 2, .. tail.Select(_ => 1L)]));
        var match = Match(layer, down, up, alpha: 3);
        using var _ = no_grad();
        var before = layer.call(x);
        var weight = LoraMatch.Weight(layer).clone();
        var change = up.flatten(1).matmul(down.flatten(1)).reshape(weight.shape) * (0.7 * 3 / 2);

        using var stack = new LoraStack();
        stack.Apply(match, 0.7);
        Close.Assert(weight + change, LoraMatch.Weight(layer), 1e-6);
        var merged = layer.call(x);
        stack.Remove();
        Close.Assert(before, layer.call(x), 0);
        Assert.IsEmpty(stack.Applied);

        stack.Apply(match, 0.7, live: true);
        Close.AssertRelative(merged, layer.call(x), 1e-5);
        Close.Assert(weight, LoraMatch.Weight(layer), 0);
        stack.Remove();
        Close.Assert(before, layer.call(x), 0);
        Assert.IsGreaterThan(0.1, Close.Apart(before, merged));
    }

    [TestMethod]
    [DataRow(ScalarType.Float32)]
    [DataRow(ScalarType.BFloat16)]
    public void Remove_ThreeOnOneLayer_GivesTheBitsOfTheFirst(ScalarType type)
    {
        using var layer = nn.Linear(6, 5).to(type);
        var before = layer.weight!.clone();
        using var stack = new LoraStack();
        foreach (double scale in new[] { 1, -0.3, 7 })
            stack.Apply(Match(layer, randn(2, 6), randn(5, 2), 2), scale);
        Assert.HasCount(3, stack.Applied);
        Assert.IsGreaterThan(1, Close.Apart(before, layer.weight!));
        stack.Remove();
        Close.Assert(before, layer.weight!, 0);
        Assert.AreEqual(type, layer.weight!.dtype);
    }

    [TestMethod]
    public void Remove_OneForGood_Stays()
    {
        using var layer = nn.Linear(6, 5);
        using var stack = new LoraStack();
        var kept = stack.Apply(Match(layer, randn(2, 6), randn(5, 2), 2), 1, forGood: true);
        var before = layer.weight!.clone();
        stack.Apply(Match(layer, randn(2, 6), randn(5, 2), 2), 1);
        stack.Remove();
        Close.Assert(before, layer.weight!, 0);
        Assert.AreEqual(kept, stack.Applied.Single());
    }

    [TestMethod]
    public void Projection_ComputedInParts_IsMergedOnly()
    {
        const string name = "up_blocks.0.temp_projections.1";
        using var layer = nn.Conv2d(6, 5, 1);
        using var before = layer.weight!.clone();
        var match = Match(layer, randn([2, 6, 1, 1]), randn([5, 2, 1, 1]), 2, name);
        using var stack = new LoraStack();
        StringAssert.Contains(Assert.ThrowsExactly<NotSupportedException>(() => stack.Apply(match, 1, live: true)).Message, name);
        stack.Apply(match, 1);
        Assert.IsGreaterThan(0.1, Close.Apart(layer.weight!, before));
    }

    [TestMethod]
    public void Convolution_OverFrames_IsMergedOnly()
    {
        using var layer = nn.Conv3d(6, 5, (3, 1, 1), padding: (1, 0, 0));
        var (down, up) = (randn([2, 6, 3, 1, 1]), randn([5, 2, 1, 1, 1]));
        var match = Match(layer, down, up, 2);
        using var stack = new LoraStack();
        StringAssert.Contains(Assert.ThrowsExactly<NotSupportedException>(() => stack.Apply(match, 1, live: true)).Message, "unet.layer");
        using var _ = no_grad();
        var x = randn([1, 6, 4, 2, 2]);
        var expected = layer.call(x) + nn.functional.conv3d(nn.functional.conv3d(x, down, padding: [1, 0, 0]), up);
        stack.Apply(match, 1);
        Close.AssertRelative(expected, layer.call(x), 1e-5);
    }

    [TestMethod]
    public void Live_Disposed_LeavesNoTensors()
    {
        using var layer = nn.Linear(6, 5);
        var match = Match(layer, randn(2, 6), randn(5, 2), 2);
        var live = new LiveLora(match, 1);
        var (down, up) = live.Pairs["unet.layer"];
        live.Dispose();
        Assert.IsTrue(down.IsInvalid && up.IsInvalid);
    }

    private static LoraMatch Match(nn.Module layer, Tensor down, Tensor up, float alpha, string name = "layer") => LoraMatch.Of(
        LoraFile.Of("x", new Dictionary<string, Tensor> { [$"unet.{name}.lora_A.weight"] = down, [$"unet.{name}.lora_B.weight"] = up, [$"unet.{name}.alpha"] = tensor(alpha) }),
        ("unet", [(name, layer)]));
}
