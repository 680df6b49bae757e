using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using Microsoft.ML.Mobius.Weights;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Weights;

[TestClass]
public sealed class SafetensorsTests
{
    [TestMethod]
    public void Read_WhatWriteWrote_IsEqualInEveryTypeAndOrder()
    {
        using var scope = NewDisposeScope();
        ScalarType[] types = [ScalarType.Bool, ScalarType.Float64, ScalarType.Float32, ScalarType.Byte, ScalarType.Float16, ScalarType.BFloat16,
            ScalarType.Int64, ScalarType.Int32];
        var tensors = types.Select((type, i) => KeyValuePair.Create($"b\u00e9.{9 - i}\"", arange(0, 5 + i).to(type))).ToList();
        tensors.Add(new("scalar", tensor(2.5f)));
        tensors.Add(new("empty", zeros(0, 3)));
        tensors.Add(new("transposed", arange(6, dtype: ScalarType.Float32).view(2, 3).t()));
        using var stream = new MemoryStream();

        Safetensors.Write(stream, tensors);

        stream.Position = 0;
        Assert.AreEqual(0, HeaderLength(stream) % 8);
        var read = Safetensors.Read(stream);
        CollectionAssert.AreEquivalent(tensors.Select(pair => pair.Key).ToList(), read.Keys.ToList());
        foreach (var (name, expected) in tensors)
        {
            Assert.AreEqual(expected.dtype, read[name].dtype, name);
            CollectionAssert.AreEqual(expected.shape, read[name].shape, name);
            Assert.IsTrue(expected.equal(read[name]).all().item<bool>(), name);
        }
        Dispose(read);
    }

    [TestMethod]
    public void Write_StoringFloatsAsHalf_ConvertsOnlyFloatsAndReadGoesBack()
    {
        using var scope = NewDisposeScope();
        var weight = randn(7, 3);
        using var stream = new MemoryStream();

        Safetensors.Write(stream, [new("w", weight), new("n", tensor(7L))], ScalarType.Float16, new Dictionary<string, string> { ["a"] = "b" });

        StringAssert.Contains(Encoding.UTF8.GetString(stream.ToArray()), "{\"__metadata__\":{\"a\":\"b\"},\"w\":{\"dtype\":\"F16\"");
        stream.Position = 0;
        var read = Safetensors.Read(stream, ScalarType.Float32);
        Assert.AreEqual(ScalarType.Float32, read["w"].dtype);
        Assert.IsTrue(read["w"].equal(weight.to(ScalarType.Float16).to(ScalarType.Float32)).all().item<bool>());
        Assert.AreEqual(7L, read["n"].item<long>());
        Dispose(read);
    }

    [TestMethod]
    public void ReadAndWrite_SeveralChunksInAZip_AreEqualAndOutliveTheScope()
    {
        IReadOnlyDictionary<string, Tensor> read;
        using var large = arange((4 << 20) + 5, dtype: ScalarType.Float32);
        using (NewDisposeScope())
        {
            using var file = new MemoryStream();
            using (var zip = new ZipArchive(file, ZipArchiveMode.Create, leaveOpen: true))
            {
                using var entry = zip.CreateEntry("w", CompressionLevel.Fastest).Open();
                Safetensors.Write(entry, [new("w", large)]);
            }
            using var reading = new ZipArchive(file, ZipArchiveMode.Read);
            using var data = reading.GetEntry("w")!.Open();
            read = Safetensors.Read(data, ScalarType.Float64);
        }
        using var difference = (read["w"] - large).abs().max();
        Assert.AreEqual(0, difference.item<double>());
        Dispose(read);
    }

    [TestMethod]
    [DataRow("version https://git-lfs.github.com/spec/v1\n", "git-lfs")]
    [DataRow("abc", "too short")]
    [DataRow("\u007f\u007f\u007f\u007f\u007f\u007f\u007f\u007f", "longer than")]
    public void Read_NoHeader_SaysWhatItIs(string text, string expected) => Fails(Encoding.ASCII.GetBytes(text), expected);

    [TestMethod]
    [DataRow("[]", 0, "does not begin with")]
    [DataRow("{\"a\":", 0, "not correct JSON")]
    [DataRow("{\"a\":1}", 0, "must have a dtype")]
    [DataRow("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,-4]}}", 4, "must have a dtype")]
    [DataRow("{\"a\":{\"dtype\":\"F8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "has the dtype F8")]
    [DataRow("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "needs 8 bytes")]
    [DataRow("{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807,9223372036854775807],\"data_offsets\":[0,4]}}", 4, "needs")]
    [DataRow("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3, "overlap")]
    [DataRow("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]}}", 3, "hole")]
    [DataRow("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}", 2, "twice")]
    [DataRow("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 2, "goes on after")]
    [DataRow("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 3, "cut off")]
    [DataRow("{\"__metadata__\":{\"a\":1}}", 0, "__metadata__")]
    [DataRow("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, "each once")]
    [DataRow("{\"a\":{\"dtype\":\"U8\",\"shape\":[0,9223372036854775807,9223372036854775807],\"data_offsets\":[0,0]}}", 0, "more bytes than any")]
    [DataRow("{\"\\ud800\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "not correct JSON")]
    [DataRow("{}x", 0, "not correct JSON")]
    public void Read_WrongHeader_SaysWhatIsWrong(string header, int dataLength, string expected) => Fails(FileOf(header, dataLength), expected);

    [TestMethod]
    public void Read_CutOffForwardOnlyStream_SaysWhere()
    {
        byte[] whole = FileOf("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 3);
        using var stream = new ForwardOnly(whole);
        var thrown = Assert.ThrowsExactly<InvalidDataException>(() => Safetensors.Read(stream));
        StringAssert.Contains(thrown.Message, "within the tensor 'a'");
    }

    [TestMethod]
    public void Write_SameNameTwice_Throws()
    {
        using var one = ones(1);
        Assert.ThrowsExactly<ArgumentException>(() => Safetensors.Write(new MemoryStream(), [new("a", one), new("a", one)]));
    }

    private static void Fails(byte[] data, string expected)
    {
        using var stream = new MemoryStream(data);
        var thrown = Assert.ThrowsExactly<InvalidDataException>(() => Safetensors.Read(stream));
        StringAssert.Contains(thrown.Message, expected);
    }

    private static byte[] FileOf(string header, int dataLength)
    {
        var length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
        return [.. length, .. Encoding.UTF8.GetBytes(header), .. new byte[dataLength]];
    }

    private static long HeaderLength(MemoryStream stream) => BinaryPrimitives.ReadInt64LittleEndian(stream.ToArray());

    private static void Dispose(IReadOnlyDictionary<string, Tensor> tensors)
    {
        foreach (var tensor in tensors.Values)
            tensor.Dispose();
    }

    private sealed class ForwardOnly(byte[] data) : MemoryStream(data)
    {
        public override bool CanSeek => false;
    }
}
