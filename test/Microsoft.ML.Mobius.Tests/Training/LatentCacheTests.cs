using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Training;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Training;

[TestClass]
public sealed class LatentCacheTests
{
    private readonly TempFolder _folder = new();
    private readonly TextToVideoModel _model = Tiny.Video();

    [TestCleanup]
    public void CleanUp()
    {
        _folder.Dispose();
        _model.Dispose();
    }

    [TestMethod]
    public void Find_WhatWasKept_IsTheSameBitForBit()
    {
        var cache = Cache();
        string key = cache.KeyOf("a");
        using var one = Latents(1);
        using var other = Latents(2);
        cache.Keep(key, [one, other]);

        var found = Cache().Find(key, out string? damage)!;
        Assert.IsNull(damage);
        Assert.HasCount(2, found);
        foreach (var (expected, actual) in new[] { one, other }.Zip(found))
        {
            Assert.AreEqual(expected.Pixels, actual.Pixels);
            CollectionAssert.AreEqual(expected.Mean.bytes.ToArray(), actual.Mean.bytes.ToArray());
            CollectionAssert.AreEqual(expected.Deviation.bytes.ToArray(), actual.Deviation.bytes.ToArray());
            CollectionAssert.AreEqual(expected.Mean.shape, actual.Mean.shape);
            actual.Dispose();
        }
        Assert.IsNull(cache.Find(cache.KeyOf("b"), out damage));
        Assert.IsNull(damage);
    }

    [TestMethod]
    public void KeyOf_OtherContentReadingOrWeights_IsAnother()
    {
        using var retrained = Tiny.Video();
        using (var scope = NewDisposeScope())
        using (no_grad())
            retrained.Autoencoder.parameters().First().add_(1e-3);
        string[] keys = [Cache().KeyOf("a"), Cache().KeyOf("b"), Cache("8 frames").KeyOf("a"), new LatentCache(_folder.Path, retrained, "").KeyOf("a")];
        CollectionAssert.AllItemsAreUnique(keys);
        Assert.AreEqual(keys[0], Cache().KeyOf("a"));
    }

    [TestMethod]
    [DataRow("a byte")]
    [DataRow("a byte of the header")]
    [DataRow("cut")]
    [DataRow("empty")]
    [DataRow("another's")]
    public void Find_Damaged_IsNotUsedAndIsReplaced(string how)
    {
        var cache = Cache();
        string key = cache.KeyOf("a"), path = _folder.File($"{key}.safetensors");
        using var latents = Latents(1);
        cache.Keep(key, [latents]);
        byte[] whole = File.ReadAllBytes(path), bytes = [.. whole];
        bytes[how == "a byte of the header" ? 12 : ^9] ^= 1;
        if (how == "another's")
            cache.Keep(cache.KeyOf("b"), [latents]);
        File.WriteAllBytes(path, how switch
        {
            "cut" => whole[..^5], "empty" => [], "another's" => File.ReadAllBytes(_folder.File($"{cache.KeyOf("b")}.safetensors")), _ => bytes,
        });

        long before = Memory.Tensors();
        Assert.IsNull(cache.Find(key, out string? damage));
        Assert.AreEqual(before, Tensor.TotalCount);
        Assert.Contains(path, damage!);
        cache.Keep(key, [latents]);
        CollectionAssert.AreEqual(whole, File.ReadAllBytes(path));
    }

    [TestMethod]
    public void Constructor_LeftoversOfKilledWriters_AreRemovedOnceOld()
    {
        string old = _folder.File(".old.tmp", [1]), young = _folder.File(".young.tmp", [1]);
        File.SetLastWriteTimeUtc(old, DateTime.UtcNow.AddHours(-2));
        Cache();
        CollectionAssert.AreEqual(new[] { young }, Directory.GetFiles(_folder.Path));
    }

    [TestMethod]
    public void Constructor_FolderIsAFile_SaysSo()
    {
        string taken = _folder.File("taken", [1]);
        Assert.Contains(taken, Assert.ThrowsExactly<IOException>(() => new LatentCache(taken, _model, "")).Message);
    }

    private LatentCache Cache(string reading = "") => new(_folder.Path, _model, reading);

    private ClipLatents Latents(int seed)
    {
        var pixels = new byte[2 * 16 * 16 * 3];
        new Random(seed).NextBytes(pixels);
        return ClipLatents.Of(_model, new(pixels, 2, 16, 16, 8));
    }
}
