using System.IO.Compression;
using System.Text;
using Microsoft.ML.Mobius.Weights;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Weights;

[TestClass]
public sealed class TorchFileTests
{
    private static readonly string s_files = Path.Combine(Shared.RepositoryRoot, "test", "Microsoft.ML.Mobius.Tests", "Weights", "TorchFiles");

    [TestMethod]
    [DataRow("zip.pt")]
    [DataRow("zip_protocol4.pt")]
    [DataRow("legacy.pt")]
    public void Read_EveryTypeAndView_IsWhatPythonStored(string name)
    {
        using var scope = NewDisposeScope();
        using var file = WeightFile.Open(Path.Combine(s_files, name));
        var counting = arange(12, dtype: ScalarType.Float32);
        var expected = new Dictionary<string, Tensor>
        {
            ["double"] = arange(6, dtype: ScalarType.Float64).view(2, 3),
            ["float"] = arange(6, dtype: ScalarType.Float32).view(2, 3),
            ["half"] = arange(6, dtype: ScalarType.Float16).view(2, 3),
            ["bfloat16"] = arange(6, dtype: ScalarType.BFloat16).view(2, 3),
            ["long"] = arange(6, dtype: ScalarType.Int64).view(2, 3),
            ["int"] = arange(6, dtype: ScalarType.Int32).view(2, 3),
            ["byte"] = arange(6, dtype: ScalarType.Byte).view(2, 3),
            ["bool"] = arange(6).remainder(2).to(ScalarType.Bool).view(2, 3),
            ["parameter"] = arange(4, dtype: ScalarType.Float16).view(4, 1, 1),
            ["transposed"] = counting[..6].view(2, 3).t(),
            ["offset"] = counting[6..].view(2, 3),
            ["stepped"] = tensor(new float[] { 1, 5, 9 }),
            ["scalar"] = tensor(0L),
            ["empty"] = zeros(0, 3),
        };

        CollectionAssert.AreEqual(expected.Keys.ToList(), file.Entries.Keys.ToList());
        foreach (var (key, tensor) in expected)
        {
            using var read = file.Read(key);
            Assert.AreEqual(key, file.Entries[key].Name);
            Assert.AreEqual(tensor.dtype, read.dtype, key);
            CollectionAssert.AreEqual(tensor.shape, read.shape, key);
            CollectionAssert.AreEqual(tensor.shape, file.Entries[key].Shape, key);
            Assert.IsTrue(read.is_contiguous(), key);
            Assert.IsTrue(tensor.equal(read).all().item<bool>(), key);
        }
        using var transposed = file.Read("transposed", ScalarType.Float64);
        Assert.AreEqual(ScalarType.Float64, transposed.dtype);
        Assert.AreEqual(0, Close.Apart(expected["transposed"], transposed));
    }

    [TestMethod]
    [DataRow("checkpoint.ckpt")]
    [DataRow("checkpoint_protocol4.ckpt")]
    public void Entries_CheckpointOfLightning_AreTheTensorsOfItsStateDictOnly(string name)
    {
        using var file = WeightFile.Open(Path.Combine(s_files, name));
        Assert.AreEqual("weight", file.Entries.Keys.Single());
        using var weight = file.Read("weight");
        using var expected = arange(6, dtype: ScalarType.Float32).view(2, 3);
        Assert.AreEqual(0, Close.Apart(expected, weight));
    }

    [TestMethod]
    public void Open_PickleThatRunsAProgram_IsRefusedByTheNameOfIt()
        => Fails(Path.Combine(s_files, "evil.pt"), "evil.pt asks for 'posix.system'");

    [TestMethod]
    public void Entries_PicklePastTheEndOf32Bits_IsReadByTheLongerDirectory()
    {
        // As PyTorch writes every zip: the directory's place once more in 64 bits; here the 32-bit one says only that it is there.
        using var folder = new TempFolder();
        byte[] zip = File.ReadAllBytes(Path.Combine(s_files, "zip.pt"));
        var (head, end) = (zip[..^22], zip[^22..]);
        var end64 = new byte[56];
        BitConverter.TryWriteBytes(end64, 0x06064b50u);
        BitConverter.TryWriteBytes(end64.AsSpan(4), 44L);
        BitConverter.TryWriteBytes(end64.AsSpan(24), (long)BitConverter.ToUInt16(end, 8));
        BitConverter.TryWriteBytes(end64.AsSpan(32), (long)BitConverter.ToUInt16(end, 10));
        BitConverter.TryWriteBytes(end64.AsSpan(40), (long)BitConverter.ToUInt32(end, 12));
        BitConverter.TryWriteBytes(end64.AsSpan(48), (long)BitConverter.ToUInt32(end, 16));
        var locator = new byte[20];
        BitConverter.TryWriteBytes(locator, 0x07064b50u);
        BitConverter.TryWriteBytes(locator.AsSpan(8), (long)head.Length);
        BitConverter.TryWriteBytes(locator.AsSpan(16), 1u);
        end.AsSpan(8, 12).Fill(0xff);

        using var file = WeightFile.Open(folder.File("w.pt", [.. head, .. end64, .. locator, .. end]));

        Assert.HasCount(14, file.Entries);
    }

    [TestMethod]
    [DataRow("cos\nsystem\n(X\u0004\u0000\u0000\u0000true", "asks for 'os.system'")]
    [DataRow("cbuiltins\neval\n", "asks for 'builtins.eval'")]
    [DataRow("ctorch._utils\n_rebuild_sparse_tensor\n", "asks for 'torch._utils._rebuild_sparse_tensor'")]
    [DataRow("ctorch\nShortStorage\n", "asks for 'torch.ShortStorage'")]
    [DataRow("c__main__\na\u00ff\n", "letters")]
    [DataRow("\u0080\u0001", "protocol 1")]
    [DataRow("i", "opcode 0x69")]
    [DataRow("X\u00ff\u00ff\u00ff\u007f", "cut off")]
    [DataRow("\u008d\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff", "cut off")]
    [DataRow("B\u00ff\u00ff\u00ff\u007f", "cut off")]
    [DataRow("X\u0001\u0000\u0000\u0000\u00ff.", "not correct UTF-8")]
    [DataRow("u", "a mark is missing")]
    [DataRow("(NN\u0086N\u0087", "a value is missing")]
    [DataRow("]N(K\u0001u", "in what is no dict")]
    [DataRow("}(K\u0001u", "not in pairs")]
    [DataRow("}(K\u0001e", "what is no list")]
    [DataRow("K\u0001}b", "attributes")]
    [DataRow("K\u0001)R", "a function is missing")]
    [DataRow("Nr\u00ff\u00ff\u00ff\u007f", "the memo has no place")]
    [DataRow("h\u0000", "the memo has no place")]
    [DataRow("}(U\u0001aNU\u0001aNu.", "lists 'a' twice")]
    [DataRow("K\u0001.", "is no dict of tensors but a number")]
    [DataRow("}U\u0001aK\u0001s.", "holds no tensors, but 'a'")]
    [DataRow("}U\u0001a}s.", "'a' is a dict where a tensor is expected")]
    [DataRow("}K\u0001Ns.", "names that are no texts")]
    [DataRow("}U\u0001ac_codecs\nencode\n)Rs.", "'a' is _codecs.encode where")]
    [DataRow("}", "cut off")]
    [DataRow("", "cut off")]
    [DataRow("K\u0001Q", "has a storage made of")]
    [DataRow("ctorch._utils\n_rebuild_tensor_v2\n)R", "has a tensor made of")]
    [DataRow("ctorch._utils\n_rebuild_parameter\nK\u0001\u0085R", "has a parameter made of")]
    [DataRow("ccollections\nOrderedDict\nK\u0001\u0085R", "has an OrderedDict made of")]
    public void Open_OtherPickle_SaysWhatItIs(string pickle, string expected)
    {
        using var folder = new TempFolder();
        Fails(folder.File("w.pt", Zip(("archive/data.pkl", Encoding.Latin1.GetBytes(pickle)))), expected);
    }

    [TestMethod]
    [DataRow("torch\nFloatStorage", "0", 6, 0, "2,3", "3,1", null)]
    [DataRow("torch\nFloatStorage", "0", 6, 0, "3,2", "1,3", null)]
    [DataRow("torch\nFloatStorage", "1", 6, 0, "2,3", "3,1", "has no data of the storage '1'")]
    [DataRow("torch\nFloatStorage", "0", 5, 0, "2,2", "2,1", "needs 20 bytes, but 24 are there")]
    [DataRow("torch\nFloatStorage", "0", 1 << 30, 0, "2,2", "2,1", "is larger than the file")]
    [DataRow("torch\nFloatStorage", "0", -1, 0, "2,2", "2,1", "has a storage made of")]
    [DataRow("torch\nFloatStorage", "0", 6, 1, "2,3", "3,1", "from element 1 on goes past the 6")]
    [DataRow("torch\nFloatStorage", "0", 6, 0, "2,3", "4,1", "goes past the 6")]
    [DataRow("torch\nFloatStorage", "0", 6, 0, "2,3", "0,1", "repeats elements")]
    [DataRow("torch\nFloatStorage", "0", 6, 0, "65536,65536,65536,65536", "0,0,0,0", "repeats elements")]
    [DataRow("torch\nFloatStorage", "0", 6, 0, "2,3", "1", "has a tensor made of")]
    [DataRow("torch\nFloatStorage", "0", 6, 0, "-2,3", "3,1", "has a tensor made of")]
    [DataRow("torch\nFloatStorage", "0", 6, 0, "0,3", "3,1", null)]
    public void Open_StorageAndView_AreCheckedAgainstTheFile(string type, string key, int count, int offset, string shape, string strides, string? expected)
    {
        static string Int(int value) => "J" + Encoding.Latin1.GetString(BitConverter.GetBytes(value));
        static string Tuple(string values) => "(" + string.Concat(values.Split(',').Select(value => Int(int.Parse(value)))) + "t";
        using var folder = new TempFolder();
        string storage = $"(U\u0007storagec{type}\nU\u0001{key}U\u0003cpu{Int(count)}tQ";
        string tensor = $"ctorch._utils\n_rebuild_tensor_v2\n({storage}{Int(offset)}{Tuple(shape)}{Tuple(strides)}\u0089NtR";
        string path = folder.File("w.pt", Zip(
            ("archive/data.pkl", Encoding.Latin1.GetBytes($"\u0080\u0002}}U\u0001a{tensor}s.")), ("archive/data/0", new byte[24])));
        if (expected is not null)
            Fails(path, expected);
        else
            WeightFile.Open(path).Dispose();
    }

    [TestMethod]
    public void Open_OtherZips_SaysWhatTheyAre()
    {
        using var folder = new TempFolder();
        byte[] empty = "}."u8.ToArray();
        Fails(folder.File("a", Zip(("a.txt", empty))), "not one of torch.save");
        Fails(folder.File("b", Zip(("a/data.pkl", empty), ("b/data.pkl", empty))), "has 2 entries FOLDER/data.pkl");
        Fails(folder.File("c", Zip(("a/data.pkl", empty), ("a/constants.pkl", empty))), "a TorchScript program");
        Fails(folder.File("d", Zip(("a/data.pkl", empty), ("a/byteorder", "big"u8.ToArray()))), "big-endian");
        Fails(folder.File("e", Zip(("a/data.pkl", empty), ("a/data.pkl", empty))), "two entries 'a/data.pkl'");
        Fails(folder.File("f", Zip(CompressionLevel.Optimal, ("a/data.pkl", new byte[1000]))), "compressed");
        Fails(folder.File("g", Zip(("a/data.pkl", empty))[..^1]), "cut off");
        Fails(folder.File("h", [.. Zip(("a/data.pkl", empty)), 0]), "cut off");
        byte[] overlapping = Zip(("a/data.pkl", empty), ("a/b", empty));
        // The second entry's local header is said to be where the first one's is.
        overlapping.AsSpan(^(22 + 46 + 3 + 4)..^(22 + 46 + 3)).Clear();
        BitConverter.TryWriteBytes(overlapping.AsSpan(overlapping.Length - 22 - 3 - 4), 0);
        Fails(folder.File("i", overlapping), "overlap");
    }

    [TestMethod]
    public void Open_OtherLegacyFiles_SaysWhatTheyAre()
    {
        using var folder = new TempFolder();
        byte[] whole = File.ReadAllBytes(Path.Combine(s_files, "legacy.pt"));
        int Find(ReadOnlySpan<byte> bytes) => whole.AsSpan().IndexOf(bytes);
        byte[] Changed(int at, byte value) => [.. whole[..at], value, .. whole[(at + 1)..]];

        Fails(folder.File("pickle", [0x80, 2, .. "}U\u0001aK\u0001s."u8]), "is a pickle, but not one of torch.save");
        Fails(folder.File("version", Changed(Find([0x4d, 0xe9, 3]) + 1, 0xea)), "another version of torch.save");
        Fails(folder.File("endian", Changed(Find("little_endian"u8) + 15, 0x89)), "big-endian");
        Fails(folder.File("short", whole[..^1]), "was cut off");
        Fails(folder.File("long", [.. whole, 0]), "goes on after its last storage");
        Fails(folder.File("cut", whole[..500]), "was cut off within its pickle");
    }

    [TestMethod]
    public void Read_FileCutOffMeanwhile_IsRefused()
    {
        using var folder = new TempFolder();
        string path = folder.File("w.pt", File.ReadAllBytes(Path.Combine(s_files, "zip.pt")));
        using var file = WeightFile.Open(path);
        using (var cutting = new FileStream(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
            cutting.SetLength(100);
        StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(() => file.Read("double")).Message, "was cut off: it has 100 bytes");
    }

    private static byte[] Zip(params (string Name, byte[] Data)[] entries) => Zip(CompressionLevel.NoCompression, entries);

    private static byte[] Zip(CompressionLevel level, params (string Name, byte[] Data)[] entries)
    {
        using var stream = new MemoryStream();
        using (var zip = new ZipArchive(stream, ZipArchiveMode.Create))
        {
            foreach (var (name, data) in entries)
            {
                using var entry = zip.CreateEntry(name, level).Open();
                entry.Write(data);
            }
        }
        return stream.ToArray();
    }

    private static void Fails(string path, string expected)
        => StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(() => WeightFile.Open(path).Dispose()).Message, expected);
}
