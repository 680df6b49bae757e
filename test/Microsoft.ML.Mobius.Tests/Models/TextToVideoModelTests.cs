using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Models;

[TestClass]
public sealed class TextToVideoModelTests
{
    [TestMethod]
    [DataRow(UNetLayout.StreamParallel, 2)]
    [DataRow(UNetLayout.Serial, 1)]
    [DataRow(UNetLayout.LayerParallel, 1)]
    public void Load_WhatSaveWrote_IsTheSameModel(UNetLayout layout, int divisor)
    {
        using var model = Tiny.Video(layout, divisor, told: true);
        var entries = Saved(model);
        using var loaded = Load(entries);
        Assert.IsTrue(loaded.UNet.Config.TemporalText);
        Assert.IsTrue(loaded.UNet.Config.FramePositions);
        Assert.AreEqual(model.ParameterCount, loaded.ParameterCount);
        Assert.AreEqual(model.TrainedParameterCount, loaded.TrainedParameterCount);
        foreach (var (a, b) in new (nn.Module, nn.Module)[] { (model.TextEncoder, loaded.TextEncoder), (model.Autoencoder, loaded.Autoencoder), (model.UNet, loaded.UNet) })
        {
            using var scope = NewDisposeScope();
            var (left, right) = (StateDict.Of(a).ToDictionary(), StateDict.Of(b).ToDictionary());
            CollectionAssert.AreEqual(left.Keys, right.Keys);
            Assert.IsTrue(left.All(pair => pair.Value.equal(right[pair.Key]).all().item<bool>()));
        }
        CollectionAssert.AreEqual(model.Tokenizer.Encode("a red box").Ids, loaded.Tokenizer.Encode("a red box").Ids);
        var again = Saved(loaded);
        Assert.IsTrue(entries.All(entry => entry.Value.AsSpan().SequenceEqual(again[entry.Key])));
    }

    [TestMethod]
    public void From_TakesNothingFromTheCallersRandomNumbers()
    {
        var image = Tiny.Image();
        random.manual_seed(7);
        using var expected = randn(3);
        random.manual_seed(7);
        using var model = TextToVideoModel.From(image, Tiny.UNet, seed: 1);
        Assert.IsTrue(expected.equal(randn(3)).all().item<bool>());
    }

    [TestMethod]
    public void Load_EntryMissing_NamesIt()
    {
        using var model = Tiny.Video();
        var entries = Saved(model);
        foreach (string name in entries.Keys)
            StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(() => Load(entries.Where(e => e.Key != name).ToDictionary())).Message, name);
    }

    [TestMethod]
    public void Load_EntryCutOff_NamesIt()
    {
        using var model = Tiny.Video();
        var entries = Saved(model);
        foreach (string name in entries.Keys.Where(name => name != "tokenizer.merges.txt"))
            StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(
                () => Load(entries.ToDictionary(e => e.Key, e => e.Key == name ? e.Value[..(e.Value.Length * 2 / 3)] : e.Value))).Message, name.Replace("tokenizer.", ""));
    }

    [TestMethod]
    public void Dispose_LoadedModel_FreesItsWeights()
    {
        // Not by the number of tensors: TorchSharp counts a parameter's first handle for ever.
        using var first = Tiny.Video();
        var model = Load(Saved(first));
        var weights = new nn.Module[] { model.TextEncoder, model.Autoencoder, model.UNet }.SelectMany(m => m.parameters()).ToList();
        Assert.IsFalse(weights.Any(weight => weight.IsInvalid));
        model.Dispose();
        Assert.IsTrue(weights.All(weight => weight.IsInvalid));
    }

    [TestMethod]
    public void From_SameSeed_StartsFromTheSameWeights()
    {
        using var scope = NewDisposeScope();
        using var a = Tiny.Video(seed: 1);
        using var b = Tiny.Video(seed: 1);
        using var c = Tiny.Video(seed: 2);
        bool Same(TextToVideoModel x, TextToVideoModel y) => x.UNet.parameters().Zip(y.UNet.parameters()).All(pair => pair.First.equal(pair.Second).all().item<bool>());
        Assert.IsTrue(Same(a, b));
        Assert.IsFalse(Same(a, c));
        Assert.IsTrue(a.TextEncoder.parameters().All(p => !p.requires_grad));
    }

    [TestMethod]
    public void ImageModel_SavedAndLoaded_IsTheSameInHalf()
    {
        var image = Tiny.Image();
        var files = new Dictionary<string, byte[]>();
        image.Save((name, write) =>
        {
            using var stream = new MemoryStream();
            write(stream);
            files[name] = stream.ToArray();
        });
        var loaded = TextToImageModel.Load(name => new MemoryStream(files[name]));
        StringAssert.Contains(System.Text.Encoding.UTF8.GetString(files["text_encoder/config.json"]), "\"hidden_size\"");
        Assert.AreEqual(image.TextEncoder.Config.HiddenSize, loaded.TextEncoder.Config.HiddenSize);
        using var scope = NewDisposeScope();
        foreach (var (a, b) in image.UNet.parameters().Zip(loaded.UNet.parameters()))
            Close.Assert(a.to(ScalarType.Float16).to(ScalarType.Float32), b, 0);
    }

    private static Dictionary<string, byte[]> Saved(TextToVideoModel model)
    {
        var entries = new Dictionary<string, byte[]>();
        model.Save((name, write) =>
        {
            using var stream = new MemoryStream();
            write(stream);
            entries[name] = stream.ToArray();
        });
        return entries;
    }

    private static TextToVideoModel Load(Dictionary<string, byte[]> entries) => TextToVideoModel.Load((name, use) =>
    {
        if (!entries.TryGetValue(name, out var bytes))
            return false;
        use(new MemoryStream(bytes));
        return true;
    });
}
