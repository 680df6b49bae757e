using System.Diagnostics;
using System.IO.Compression;
using System.Reflection;
using System.Security.Cryptography;
using Microsoft.ML.Data;
using Microsoft.ML.Mobius.Sampling;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Tests.Pipeline;

/// <summary>Saving a model and loading it: in this process, in another, and from files that are not whole.</summary>
[TestClass]
public sealed class TextToVideoModelFileTests
{
    private readonly TinyPipeline _tiny = new();
    private readonly SmallVideos _files = new();

    private string Zip => _files.PathOf("model.zip");

    [ClassInitialize]
    public static void Start(TestContext _) => TinyPipeline.UseOneThread();

    [ClassCleanup]
    public static void End() => TinyPipeline.UseUsualThreads();

    [TestCleanup]
    public void RemoveFiles() => _files.Dispose();

    [TestMethod]
    public void Load_InAnotherProcess_GeneratesTheSameFramesToTheBit()
    {
        string[] prompts = ["a red Ball", "", "zwei Bälle"];
        var model = _tiny.ML.Transforms.Text.NormalizeText("Caption").Append(_tiny.Trainer()).Fit(_tiny.Clips());
        string[] expected = [.. TinyPipeline.Videos(model.Transform(_tiny.Prompts(prompts)))
            .Select(clip => Convert.ToHexString(SHA256.HashData(clip.Pixels.Span)))];
        _tiny.ML.Model.Save(model, _tiny.Prompts().Schema, Zip);
        model.Dispose();

        string[] said = RoundTrip([Zip, TorchSharp.torch.get_num_threads().ToString(), .. prompts]);

        Assert.AreEqual("False", said[0], "the assembly was loaded before the model was");
        Assert.EndsWith("Microsoft.ML.Mobius.TextToVideoTransformer", said[1]);
        CollectionAssert.AreEqual(expected, said[2..]);
    }

    [TestMethod]
    public void Load_SavedWithNullSchema_IsTheTransformerWithAllItHad()
    {
        using var saved = _tiny.Trainer(options => (options.SeedColumnName, options.NegativePromptColumnName, options.SourceColumnName) = ("Seed", "Negative", "Clip"))
            .Fit(_tiny.Clips());
        saved.Generation = saved.Generation with
        {
            SamplingSteps = 3, Sampler = SamplerKind.Ddim, Eta = 0.25, GuidanceScale = 2, GuidanceRescale = 0.5, NegativePrompt = "dull", Seed = -5,
            FrameRate = 12, Loop = true, FrameWindow = 4, FrameOverlap = 3, Strength = 0.5, HeldFrames = 1, PromptWeights = true, DecodeRows = 16,
            GuidanceInTurn = true, SpatialFrameChunk = 2,
        };
        _tiny.ML.Model.Save(saved, null, Zip);

        using var loaded = (TextToVideoTransformer)_tiny.ML.Model.Load(Zip, out var schema);

        Assert.IsNull(schema);
        Assert.AreEqual(saved.Generation, loaded.Generation);
        CollectionAssert.AreEqual(saved.History.Losses.ToArray(), loaded.History.Losses.ToArray());
        CollectionAssert.AreEqual(saved.History.HeldOut.ToArray(), loaded.History.HeldOut.ToArray());
        Assert.AreEqual((saved.History.Seconds, saved.History.PeakMemoryBytes), (loaded.History.Seconds, loaded.History.PeakMemoryBytes));
        Assert.AreEqual((saved.Layout, saved.ParameterCount, saved.TrainedParameterCount),
            (loaded.Layout, loaded.ParameterCount, loaded.TrainedParameterCount));
        Assert.AreEqual((saved.InputColumnName, saved.OutputColumnName, "Seed", "Negative", "Clip"),
            (loaded.InputColumnName, loaded.OutputColumnName, loaded.SeedColumnName, loaded.NegativePromptColumnName, loaded.SourceColumnName));
        AssertGenerateTheSame(saved, loaded, _tiny.Clips(1));
    }

    [TestMethod]
    public void Load_SavedWithMoreOptions_HasThem()
    {
        using var saved = _tiny.Untrained();
        saved.Generation = saved.Generation with { FrameCount = 4, KeyFrames = 3, DeepCacheInterval = 2 };
        _tiny.ML.Model.Save(saved, null, Zip);
        using var loaded = (TextToVideoTransformer)_tiny.ML.Model.Load(Zip, out _);
        Assert.AreEqual(saved.Generation, loaded.Generation);
    }

    [TestMethod]
    public void Load_FileOfVersion1_4_HasTheDefaultsOfWhatItLacks()
    {
        using var saved = _tiny.Untrained(options => options.SeedColumnName = "Seed");
        saved.Generation = saved.Generation with { GuidanceScale = 2, Sampler = SamplerKind.Ddim, Eta = 0.25 };
        _tiny.ML.Model.Save(saved, null, Zip);
        Repack(entries =>
        {
            string path = entries.Keys.Single(path => path.EndsWith("Model.key", StringComparison.Ordinal));
            entries[path] = AsVersion1_4(entries[path]);
        });

        using var loaded = (TextToVideoTransformer)_tiny.ML.Model.Load(Zip, out _);

        Assert.AreEqual(saved.Generation, loaded.Generation);
        Assert.AreEqual(("Seed", null), (loaded.SeedColumnName, loaded.SourceColumnName));
        AssertGenerateTheSame(saved, loaded, _tiny.Clips(1));
    }

    /// <summary>Without what 1.5 and 1.6 added; ML.NET's header has offsets and lengths from byte 16 to 151 and the model's versions at 72 and 76.</summary>
    private static byte[] AsVersion1_4(byte[] key)
    {
        const int Body = 16, Length = 24, Versions = 72, Columns = 4 * sizeof(int), UntilEta = 4 * 3 + 8 + 4 + 8 + 4 + 8 + 4 + 8 + 8;
        const int OfSource = sizeof(int), OfOptions = 1 + 4 + 4 + 8 + 4 + 1 + 4 + 4 + 1 + 4 + 4;
        long At(int place) => BitConverter.ToInt64(key, place);
        int source = (int)At(Body) + Columns, options = source + OfSource + UntilEta;
        byte[] older = [.. key[..source], .. key[(source + OfSource)..options], .. key[(options + OfOptions)..]];
        foreach (int offset in new[] { 32, 48, 128, 136, 144 })                             // of what lies after the body
            BitConverter.TryWriteBytes(older.AsSpan(offset), At(offset) - OfSource - OfOptions);
        BitConverter.TryWriteBytes(older.AsSpan(Length), At(Length) - OfSource - OfOptions);
        foreach (int version in new[] { Versions, Versions + 4 })
            BitConverter.TryWriteBytes(older.AsSpan(version), 0x00010004);
        return older;
    }

    [TestMethod]
    public void Save_Weights_AreStoredWithoutTemporaryFiles()
    {
        using var transformer = _tiny.Untrained();
        string temporary = Directory.CreateDirectory(_files.PathOf("temporary")).FullName;
        _tiny.ML.TempFilePath = temporary;
        long largest = 0;
        using (var watcher = new MeasuringStream(() => largest = Math.Max(largest, FolderSize(temporary))))
        {
            _tiny.ML.Model.Save(transformer, null, watcher);
            File.WriteAllBytes(Zip, watcher.ToArray());
        }

        Assert.IsLessThan(10_000, largest);
        Assert.IsEmpty(Directory.GetFileSystemEntries(temporary));
        using var archive = ZipFile.OpenRead(Zip);
        var weights = archive.Entries.Where(entry => entry.Name.EndsWith(".safetensors", StringComparison.Ordinal)).ToArray();
        Assert.HasCount(4, weights);
        foreach (var entry in weights)
            Assert.AreEqual(entry.Length, entry.CompressedLength, entry.FullName);
    }

    [TestMethod]
    public void Load_FileRepackedWithCompression_IsTheSame()
    {
        using var saved = _tiny.Untrained();
        _tiny.ML.Model.Save(saved, null, Zip);
        Repack(_ => { });
        using var loaded = (TextToVideoTransformer)_tiny.ML.Model.Load(Zip, out _);
        AssertGenerateTheSame(saved, loaded, _tiny.Prompts("a"));
    }

    [TestMethod]
    public void Save_DiskFull_ThrowsAndLeavesTheModelUsable()
    {
        using var transformer = _tiny.Untrained();
        Assert.Contains("disk", Assert.ThrowsExactly<IOException>(() => _tiny.ML.Model.Save(transformer, null, new FullDisk(20_000))).Message);
        _tiny.ML.Model.Save(transformer, null, Zip);
        using var loaded = (TextToVideoTransformer)_tiny.ML.Model.Load(Zip, out _);
    }

    [TestMethod]
    public void Load_TruncatedFile_IsADecodingError()
    {
        using var transformer = _tiny.Untrained();
        _tiny.ML.Model.Save(transformer, null, Zip);
        using (var file = File.OpenWrite(Zip))
            file.SetLength(file.Length / 2);
        Assert.Contains("zip archive", Assert.ThrowsExactly<FormatException>(() => _tiny.ML.Model.Load(Zip, out _)).Message);
    }

    [TestMethod]
    public void Load_ForeignArchive_Throws()
    {
        using (var archive = ZipFile.Open(Zip, ZipArchiveMode.Create))
            archive.CreateEntry("readme.txt");
        Assert.ThrowsExactly<InvalidOperationException>(() => _tiny.ML.Model.Load(Zip, out _));
    }

    [TestMethod]
    [DataRow("unet.temporal.safetensors", "gone")]
    [DataRow("unet.temporal.safetensors", "cut")]
    [DataRow("text_encoder.safetensors", "cut")]
    [DataRow("tokenizer.vocab.json", "cut")]
    [DataRow("config.json", "cut")]
    [DataRow("config.json", "{}")]
    public void Load_DamagedEntry_NamesIt(string name, string damage)
    {
        using var transformer = _tiny.Untrained();
        _tiny.ML.Model.Save(transformer, null, Zip);
        Repack(entries =>
        {
            string path = entries.Keys.Single(path => path.EndsWith(name, StringComparison.Ordinal));
            if (damage == "gone")
                entries.Remove(path);
            else
                entries[path] = damage == "cut" ? entries[path][..(entries[path].Length / 2)] : System.Text.Encoding.UTF8.GetBytes(damage);
        });
        Exception? error = Assert.ThrowsExactly<InvalidOperationException>(() => _tiny.ML.Model.Load(Zip, out _));
        while (error is not (null or FormatException))
            error = error.InnerException;       // ML.NET wraps every loader's errors
        Assert.Contains("damaged", error!.Message);
        Assert.Contains(name, error.Message.Replace(" vocab.json", " tokenizer.vocab.json"));
    }

    [TestMethod]
    [DataRow("vae.safetensors")]
    [DataRow("unet.temporal.safetensors")]
    public void Load_OneBitFlipped_NamesTheEntry(string name)
    {
        using var transformer = _tiny.Untrained();
        _tiny.ML.Model.Save(transformer, null, Zip);
        long size;
        using (var archive = ZipFile.OpenRead(Zip))
            size = archive.Entries.Single(entry => entry.Name == name).Length;
        byte[] file = File.ReadAllBytes(Zip);
        int header = file.AsSpan().IndexOf(System.Text.Encoding.ASCII.GetBytes(name));
        file[header + size - 8] ^= 1;      // one of the last weights, which are stored as they are
        File.WriteAllBytes(Zip, file);
        var error = Assert.ThrowsExactly<InvalidOperationException>(() => _tiny.ML.Model.Load(Zip, out _));
        Assert.Contains(name, error.ToString());
    }

    [TestMethod]
    public void LoadableClasses_AreVisible()
    {
        // None are without the access that Friends.cs asks for: the runtime passes over attributes of inaccessible types in silence.
        var assembly = typeof(TextToVideoTransformer).Assembly;
        Assert.IsGreaterThanOrEqualTo(1, assembly.GetCustomAttributes().Count(attribute => attribute.GetType().Name == "LoadableClassAttribute"));
        Assert.AreEqual(new Version(1, 0, 0, 0), assembly.GetName().Version);
    }

    private static void AssertGenerateTheSame(TextToVideoTransformer first, TextToVideoTransformer second, IDataView row)
        => TinyPipeline.AssertSame(TinyPipeline.Videos(first.Transform(row)).Single(), TinyPipeline.Videos(second.Transform(row)).Single());

    private void Repack(Action<Dictionary<string, byte[]>> change)
    {
        var entries = new Dictionary<string, byte[]>();
        using (var archive = ZipFile.OpenRead(Zip))
            foreach (var entry in archive.Entries)
            {
                using var stream = entry.Open();
                using var copy = new MemoryStream();
                stream.CopyTo(copy);
                entries.Add(entry.FullName, copy.ToArray());
            }
        change(entries);
        File.Delete(Zip);
        using var again = ZipFile.Open(Zip, ZipArchiveMode.Create);
        foreach (var (name, bytes) in entries)
        {
            using var stream = again.CreateEntry(name, CompressionLevel.Fastest).Open();
            stream.Write(bytes);
        }
    }

    private static string[] RoundTrip(string[] arguments)
    {
        var (exitCode, said, complaint) = SecondProcess.Run("Microsoft.ML.Mobius.RoundTrip.dll", arguments);
        Assert.AreEqual(0, exitCode, complaint);
        return said.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
    }

    private static long FolderSize(string folder)
        => new DirectoryInfo(folder).EnumerateFiles("*", SearchOption.AllDirectories).Sum(file => file.Length);

    /// <summary>Looks at the world on every write (MemoryStream passes all kinds of writing of a derived class on to this one).</summary>
    private sealed class MeasuringStream(Action look) : MemoryStream
    {
        public override void Write(byte[] buffer, int offset, int count)
        {
            look();
            base.Write(buffer, offset, count);
        }
    }

    private sealed class FullDisk(long size) : MemoryStream
    {
        public override void Write(byte[] buffer, int offset, int count)
        {
            if (Position + count > size)
                throw new IOException("No space left on the disk.");
            base.Write(buffer, offset, count);
        }
    }
}
