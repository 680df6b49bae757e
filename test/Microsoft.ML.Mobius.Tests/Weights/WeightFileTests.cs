using Microsoft.ML.Mobius.Torch;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Weights;

[TestClass]
public sealed class WeightFileTests
{
    [TestMethod]
    public void Read_WhatWriteWrote_IsEqualInEveryTypeAndOutlivesTheFile()
    {
        using var scope = NewDisposeScope();
        using var folder = new TempFolder();
        ScalarType[] types = [ScalarType.Bool, ScalarType.Float64, ScalarType.Float32, ScalarType.Byte, ScalarType.Float16, ScalarType.BFloat16,
            ScalarType.Int64, ScalarType.Int32];
        var tensors = types.Select((type, i) => KeyValuePair.Create($"{9 - i}", arange(0, 5 + i).to(type))).ToList();
        tensors.Add(new("scalar", tensor(2.5f)));
        tensors.Add(new("empty", zeros(0, 3)));
        tensors.Add(new("transposed", arange(6, dtype: ScalarType.Float32).view(2, 3).t()));
        using var stream = new MemoryStream();
        Safetensors.Write(stream, tensors, metadata: new Dictionary<string, string> { ["format"] = "pt", ["a"] = "b" });
        var read = new Dictionary<string, Tensor>();

        using (var file = WeightFile.Open(folder.File("w.safetensors", stream.ToArray())))
        {
            Assert.AreEqual("w.safetensors", file.Name);
            Assert.AreEqual("b", file.Metadata["a"]);
            // The empty tensor goes before the one whose data begins where it does.
            CollectionAssert.AreEquivalent(tensors.Select(pair => pair.Key).ToList(), file.Entries.Keys.ToList());
            CollectionAssert.AreEqual(tensors.Take(9).Select(pair => pair.Key).ToList(), file.Entries.Keys.Take(9).ToList());
            foreach (var (name, expected) in tensors)
            {
                Assert.AreEqual(expected.dtype, file.Entries[name].Type, name);
                CollectionAssert.AreEqual(expected.shape, file.Entries[name].Shape, name);
                read[name] = file.Read(name);
            }
        }

        foreach (var (name, expected) in tensors)
        {
            Assert.AreEqual(expected.dtype, read[name].dtype, name);
            Assert.IsTrue(expected.equal(read[name]).all().item<bool>(), name);
        }
        foreach (var tensor in read.Values)
            tensor.Dispose();
    }

    [TestMethod]
    public void Read_FloatsAsOthers_ConvertsFloatsOnlyInChunks()
    {
        using var scope = NewDisposeScope();
        using var folder = new TempFolder();
        var large = arange((4 << 20) + 5, dtype: ScalarType.Float32) / 1024;
        using var stream = new MemoryStream();
        Safetensors.Write(stream, [new("large", large), new("whole", tensor(7L))]);
        using var file = WeightFile.Open(folder.File("w", stream.ToArray()));

        using var half = file.Read("large", ScalarType.Float64);
        using var whole = file.Read("whole", ScalarType.Float64);

        Assert.AreEqual(ScalarType.Float64, half.dtype);
        Assert.AreEqual(0, Close.Apart(half, large));
        Assert.AreEqual(ScalarType.Int64, whole.dtype);
    }

    [TestMethod]
    public void CopyTo_TransposedTarget_FillsItRowByRow()
    {
        using var scope = NewDisposeScope();
        using var folder = new TempFolder();
        var stored = arange(6, dtype: ScalarType.Float32).view(3, 2);
        using var stream = new MemoryStream();
        Safetensors.Write(stream, [new("a", stored)]);
        using var file = WeightFile.Open(folder.File("w", stream.ToArray()));
        var target = zeros(2, 3).t();

        file.CopyTo("a", target);

        Assert.IsTrue(target.equal(stored).all().item<bool>());
    }

    [TestMethod]
    public void Read_NameThatIsNotThere_NamesItAndTheFile()
    {
        using var folder = new TempFolder();
        using var stream = new MemoryStream();
        using var one = ones(1);
        Safetensors.Write(stream, [new("a", one)]);
        using var file = WeightFile.Open(folder.File("w.safetensors", stream.ToArray()));
        Assert.AreEqual("w.safetensors has no tensor 'b'.", Assert.ThrowsExactly<InvalidDataException>(() => file.Read("b")).Message);
    }

    [TestMethod]
    public void Open_EmptyFile_SaysSo()
    {
        using var folder = new TempFolder();
        var thrown = Assert.ThrowsExactly<InvalidDataException>(() => WeightFile.Open(folder.File("w.bin", [])));
        StringAssert.Contains(thrown.Message, "w.bin");
    }

    [TestMethod]
    public void Open_LinkOfGitLfs_SaysSo()
    {
        using var folder = new TempFolder();
        string path = folder.File("w.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"u8);
        StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(() => WeightFile.Open(path)).Message, "git lfs pull");
    }

    [TestMethod]
    public void Open_DataPastTheLastTensor_SaysSo()
    {
        using var folder = new TempFolder();
        using var one = ones(1);
        Safetensors.Write(folder.File("w"), [new("a", one)]);
        string path = folder.File("w", [.. File.ReadAllBytes(folder.File("w")), 0]);
        StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(() => WeightFile.Open(path)).Message, "goes on after");
    }

    [TestMethod]
    public void Open_HeaderOfTheLengthThatLegacyPicklesBeginWith_IsSafetensors()
    {
        // 80 02 is the first byte pair of a pickle of protocol 2, and a header of 640 bytes.
        using var folder = new TempFolder();
        using var one = ones(1);
        const string Name = "a";
        using var stream = new MemoryStream();
        Safetensors.Write(stream, [new(Name, one)], metadata: new Dictionary<string, string> { ["a"] = "" });
        int padding = 640 - (int)BitConverter.ToInt64(stream.ToArray());
        stream.SetLength(0);
        Safetensors.Write(stream, [new(Name, one)], metadata: new Dictionary<string, string> { ["a"] = new('x', padding) });
        CollectionAssert.AreEqual(new byte[] { 0x80, 2 }, stream.ToArray()[..2]);

        using var file = WeightFile.Open(folder.File("w", stream.ToArray()));

        Assert.AreEqual(Name, file.Entries.Keys.Single());
    }

    [TestMethod]
    [TestCategory("Heavy")]
    public void Load_LargeModule_TakesAChunkBesideIt()
    {
        if (!File.Exists("/proc/self/clear_refs"))
            Assert.Inconclusive("The peak of resident memory can be reset on Linux only.");
        using var folder = new TempFolder();
        using var module = nn.Sequential(Enumerable.Range(0, 8).Select(i => ($"{i}", (nn.Module<Tensor, Tensor>)nn.Linear(4096, 4096))));
        string path = folder.File("w.safetensors");
        Safetensors.Write(path, StateDict.Of(module), ScalarType.Float16);
        long before = Memory.Resident();
        File.WriteAllText("/proc/self/clear_refs", "5");

        using (var file = WeightFile.Open(path))
            StateDict.Load(module, file);

        long beside = ProcessMemory.Peak() - before;
        Console.WriteLine($"{new FileInfo(path).Length >> 20} MiB read, {beside >> 20} MiB beside the module.");
        Assert.IsLessThan(64L << 20, beside);
    }
}
