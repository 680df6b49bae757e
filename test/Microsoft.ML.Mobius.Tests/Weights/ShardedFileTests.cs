using System.Text;
using System.Text.Json;
using Microsoft.ML.Mobius.Weights;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Weights;

[TestClass]
public sealed class ShardedFileTests
{
    [TestMethod]
    public void Open_WhatWriteWrote_IsEqualAndInItsOrder()
    {
        using var scope = NewDisposeScope();
        using var folder = new TempFolder();
        string path = folder.File("model.safetensors");

        ShardedFile.Write(path, Three(), shardBytes: 50);

        CollectionAssert.AreEquivalent(
            new[] { "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json" }, Names(folder));
        using var json = JsonDocument.Parse(File.ReadAllText(path + ".index.json"));
        Assert.AreEqual(88, json.RootElement.GetProperty("metadata").GetProperty("total_size").GetInt64());
        Assert.AreEqual("model-00002-of-00002.safetensors", json.RootElement.GetProperty("weight_map").GetProperty("c").GetString());
        using var file = WeightFile.Open(path + ".index.json");
        Assert.AreEqual("model.safetensors.index.json", file.Name);
        CollectionAssert.AreEqual(new[] { "b", "a", "c" }, file.Entries.Keys.ToArray());
        foreach (var (name, tensor) in Three())
        {
            using var read = file.Read(name);
            Assert.IsTrue(read.equal(tensor).all().item<bool>(), name);
        }
    }

    [TestMethod]
    public void Write_FewerBytesThanAShard_IsOneFileAndTakesTheEarlierOnesAway()
    {
        using var scope = NewDisposeScope();
        using var folder = new TempFolder();
        string path = folder.File("model.safetensors");
        folder.File("model.fp16.safetensors", "another"u8);

        ShardedFile.Write(path, Three(), shardBytes: 1);
        Assert.HasCount(5, Names(folder));
        ShardedFile.Write(path, Three(), shardBytes: 64, ScalarType.Float16);
        CollectionAssert.AreEquivalent(new[] { "model.fp16.safetensors", "model.safetensors" }, Names(folder));
        ShardedFile.Write(path, Three(), shardBytes: 50);
        Assert.HasCount(4, Names(folder));
    }

    [TestMethod]
    public void Write_TensorThatCannotBeStored_LeavesWhatWasThere()
    {
        using var folder = new TempFolder();
        using var one = ones(1);
        using var complex = ones(1, ScalarType.ComplexFloat32);
        string path = folder.File("w.safetensors", "before"u8);

        Assert.ThrowsExactly<ArgumentException>(() => Safetensors.Write(path, [new("a", one), new("b", complex)]));
        Assert.ThrowsExactly<ArgumentException>(() => ShardedFile.Write(path, [new("a", one), new("a", one)], 100));

        Assert.AreEqual("before", File.ReadAllText(path));
        CollectionAssert.AreEqual(new[] { "w.safetensors" }, Names(folder));
    }

    [TestMethod]
    [DataRow("{\"weight_map\":{\"a\":\"../one.safetensors\"}}", "without a path")]
    [DataRow("{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "without a path")]
    [DataRow("{\"weight_map\":{\"a\":\"c:one.safetensors\"}}", "without a path")]
    [DataRow("{\"weight_map\":{\"a\":\"..\"}}", "without a path")]
    [DataRow("{\"weight_map\":{\"a\":\"\"}}", "without a path")]
    [DataRow("{\"weight_map\":{\"a\":\"two.safetensors\"}}", "names the shard two.safetensors, which is not beside it")]
    [DataRow("{\"weight_map\":{\"a\":\"w.index.json\"}}", "an index itself")]
    [DataRow("{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"one.safetensors\",\"c\":\"one.safetensors\"}}", "says that 'c' is in one.safetensors")]
    [DataRow("{\"weight_map\":{\"a\":\"one.safetensors\"}}", "one.safetensors holds 'b', which w.index.json does not say of it")]
    [DataRow("{\"weight_map\":{\"a\":\"one.safetensors\",\"a\":\"one.safetensors\"}}", "lists 'a' twice")]
    [DataRow("{\"weight_map\":{\"a\":1}}", "one weight_map")]
    [DataRow("{\"weight_map\":[]}", "one weight_map")]
    [DataRow("{\"weight_map\":{}}", "one weight_map")]
    [DataRow("{\"metadata\":{}}", "one weight_map")]
    [DataRow("{\"weight_map\":{\"a\":\"one.safetensors\",", "not correct JSON")]
    [DataRow("{\"weight_map\":{\"\\ud800\":\"one.safetensors\"}}", "not correct JSON")]
    [DataRow("{} x", "not correct JSON")]
    public void Open_WrongIndex_SaysWhatIsWrong(string index, string expected)
    {
        using var scope = NewDisposeScope();
        using var folder = new TempFolder();
        Safetensors.Write(folder.File("one.safetensors"), [new("a", ones(1)), new("b", ones(2))]);
        string path = folder.File("w.index.json", Encoding.UTF8.GetBytes(index));
        StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(() => WeightFile.Open(path).Dispose()).Message, expected);
    }

    private static List<KeyValuePair<string, Tensor>> Three()
        => [new("b", arange(2, dtype: ScalarType.Float32)), new("a", arange(10, dtype: ScalarType.Float32)), new("c", arange(5, dtype: ScalarType.Int64))];

    private static string[] Names(TempFolder folder) => [.. Directory.GetFiles(folder.Path).Select(path => Path.GetFileName(path))];
}
