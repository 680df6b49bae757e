using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Training;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Training;

[TestClass]
public sealed class TextCacheTests
{
    private readonly TempFolder _folder = new();
    private readonly TextToVideoModel _model = Tiny.Video();
    private readonly List<string> _warned = [];

    [TestCleanup]
    public void CleanUp()
    {
        _folder.Dispose();
        _model.Dispose();
    }

    [TestMethod]
    public void States_SecondTime_AreFoundBitForBit()
    {
        using var scope = NewDisposeScope();
        var (cold, warm) = (new TextCache(_folder.Path, _model), new TextCache(_folder.Path, _model));
        foreach (string caption in new[] { "a red ball", "", "zwölf" })
        {
            using var first = cold.States(caption, _warned.Add);
            using var again = warm.States(caption, _warned.Add);
            Close.Assert(first, again, 0);
            Close.Assert(_model.EncodeText(caption)[0], again, 0);
            CollectionAssert.AreEqual(new long[] { 77, 16 }, again.shape);
        }
        Assert.AreEqual((3, 0), (cold.Encoded, warm.Encoded));
        Assert.IsEmpty(_warned);
    }

    [TestMethod]
    public void States_OtherCaptionOrEncoder_AreOthers()
    {
        using var scope = NewDisposeScope();
        new TextCache(_folder.Path, _model).States("a red ball", _warned.Add).Dispose();
        using (no_grad())
            _model.TextEncoder.parameters().First().add_(0.1);
        var retrained = new TextCache(_folder.Path, _model);
        using var states = retrained.States("a red ball", _warned.Add);
        Close.Assert(_model.EncodeText("a red ball")[0], states, 0);
        retrained.States("a red hall", _warned.Add).Dispose();
        Assert.AreEqual(2, retrained.Encoded);
        Assert.HasCount(3, Directory.GetFiles(_folder.Path));
    }

    [TestMethod]
    public void States_Damaged_AreEncodedAnew()
    {
        using var scope = NewDisposeScope();
        using var expected = new TextCache(_folder.Path, _model).States("a", _warned.Add);
        string file = Directory.GetFiles(_folder.Path).Single();
        byte[] whole = File.ReadAllBytes(file), bytes = [.. whole];
        bytes[^3] ^= 1;
        File.WriteAllBytes(file, bytes);
        var cache = new TextCache(_folder.Path, _model);
        using var states = cache.States("a", _warned.Add);
        Close.Assert(expected, states, 0);
        Assert.AreEqual(1, cache.Encoded);
        Assert.Contains("cached text states", _warned.Single());
        CollectionAssert.AreEqual(whole, File.ReadAllBytes(file));
    }

    /// <summary>What is kept is used: states of another caption give another loss, and those of the captions the same as encoding them.</summary>
    [TestMethod]
    [DataRow(1)]
    [DataRow(2)]
    public void Run_TextsKept_IsTheSameRunBitForBit(int threads)
    {
        int usual = get_num_threads();
        set_num_threads(threads);
        try
        {
            TrainingHistory Run(Func<string, string>? kept)
            {
                using var model = Tiny.Video(told: true);
                using var data = Tiny.Clips(model);
                if (kept is not null)
                    data.KeepTexts(caption => model.EncodeText(kept(caption))[0].contiguous().DetachFromDisposeScope());
                return TrainingLoop.Run(model, data, new TrainingSettings { Steps = 3, BatchSize = 3, HeldOutFraction = 0.3, CaptionDropout = 0.3 });
            }
            var encoded = Run(null);
            var found = Run(caption => caption);
            CollectionAssert.AreEqual(encoded.Losses.ToArray(), found.Losses.ToArray());
            CollectionAssert.AreEqual(encoded.HeldOut.ToArray(), found.HeldOut.ToArray());
            CollectionAssert.AreNotEqual(encoded.Losses.ToArray(), Run(caption => caption + "!").Losses.ToArray());
        }
        finally
        {
            set_num_threads(usual);
        }
    }
}
