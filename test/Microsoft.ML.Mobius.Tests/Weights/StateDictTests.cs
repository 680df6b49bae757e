using Microsoft.ML.Mobius.Weights;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Weights;

[TestClass]
public sealed class StateDictTests
{
    [TestMethod]
    public void Load_WhatOfGave_CopiesIt()
    {
        using var from = nn.Linear(3, 2);
        using var to = nn.Linear(3, 2);
        using var scope = NewDisposeScope();

        StateDict.Load(to, new Dictionary<string, Tensor>(StateDict.Of(from).Select(pair => KeyValuePair.Create(pair.Key, pair.Value.to(ScalarType.Float64)))), "x");

        Assert.AreEqual(ScalarType.Float32, to.weight.dtype);
        Assert.IsTrue(to.weight.requires_grad);
        Assert.IsTrue(from.weight.equal(to.weight).all().item<bool>());
    }

    [TestMethod]
    public void Load_OtherNamesAndShapes_ListsEveryOneAndChangesNothing()
    {
        using var linear = nn.Linear(3, 2);
        using var scope = NewDisposeScope();
        var before = linear.weight!.clone();
        var weights = new Dictionary<string, Tensor> { ["weight"] = ones(1), ["other"] = ones(1) };

        var thrown = Assert.ThrowsExactly<WeightMismatchException>(() => StateDict.Load(linear, weights, "model.safetensors"));

        CollectionAssert.AreEqual(new[] { "bias" }, thrown.Missing.ToArray());
        CollectionAssert.AreEqual(new[] { "other" }, thrown.Unexpected.ToArray());
        StringAssert.Contains(thrown.Message, "model.safetensors");
        StringAssert.Contains(thrown.Message, "weight (expected Float32 [2, 3], found Float32 [1])");
        Assert.IsTrue(before.equal(linear.weight).all().item<bool>());
    }

    [TestMethod]
    public void Load_WholeNumbersIntoFloats_IsRefused()
    {
        using var linear = nn.Linear(2, 2, hasBias: false);
        using var scope = NewDisposeScope();
        var weights = new Dictionary<string, Tensor> { ["weight"] = ones(2, 2, dtype: ScalarType.Int64) };
        Assert.HasCount(1, Assert.ThrowsExactly<WeightMismatchException>(() => StateDict.Load(linear, weights, "x")).Unfit);
    }

    [TestMethod]
    public void Load_ManyUnexpected_ShowsTwentyAndTheTotal()
    {
        using var nothing = nn.Linear(1, 1, hasBias: false);
        using var scope = NewDisposeScope();
        var weights = Enumerable.Range(0, 30).ToDictionary(i => $"k{i}", _ => ones(1));
        var thrown = Assert.ThrowsExactly<WeightMismatchException>(() => StateDict.Load(nothing, weights, "x"));
        StringAssert.Contains(thrown.Message, "30 unexpected");
        StringAssert.Contains(thrown.Message, "k19 and 10 more");
    }

    [TestMethod]
    public void Load_FileWithOtherNames_RenamesAndLeavesOutAsTold()
    {
        using var folder = new TempFolder();
        using var from = nn.Linear(3, 2);
        using var to = nn.Linear(3, 2, dtype: ScalarType.Float64);
        using var extra = ones(1);
        using var file = Written(folder, [.. StateDict.Of(from).Select(pair => KeyValuePair.Create("old." + pair.Key, pair.Value)), new("left", extra)]);

        StateDict.Load(to, file, name => name == "left" ? null : name["old.".Length..]);

        Assert.AreEqual(ScalarType.Float64, to.weight.dtype);
        Assert.IsTrue(to.weight.requires_grad);
        Assert.AreEqual(0, Close.Apart(from.weight, to.weight));
        Assert.AreEqual(0, Close.Apart(from.bias!, to.bias!));
    }

    [TestMethod]
    public void Load_FileThatDoesNotFit_ListsStoredNamesAndChangesNothing()
    {
        using var folder = new TempFolder();
        using var linear = nn.Linear(3, 2);
        using var scope = NewDisposeScope();
        var before = linear.weight!.clone();
        using var file = Written(folder, [new("a.weight", zeros(2, 3)), new("b.weight", ones(2, 3)), new("a.bias", ones(3)), new("a.other", ones(1))]);

        var thrown = Assert.ThrowsExactly<WeightMismatchException>(() => StateDict.Load(linear, file, name => name[2..]));

        CollectionAssert.AreEqual(new[] { "a.other", "b.weight (as weight, which a.weight is)" }, thrown.Unexpected.ToArray());
        CollectionAssert.AreEqual(new[] { "bias (expected Float32 [2], found Float32 [3] as a.bias)" }, thrown.Unfit.ToArray());
        Assert.IsTrue(before.equal(linear.weight).all().item<bool>());
    }

    private static WeightFile Written(TempFolder folder, params KeyValuePair<string, Tensor>[] tensors)
    {
        using var stream = new MemoryStream();
        Safetensors.Write(stream, tensors);
        return WeightFile.Open(folder.File("w.safetensors", stream.ToArray()));
    }
}
