using System.Buffers.Binary;
using System.Numerics;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.Video;
using Tensorboard;

namespace Microsoft.ML.Mobius.Tests.Training;

[TestClass]
public sealed class EventFileTests
{
    private readonly TempFolder _folder = new();

    [TestCleanup]
    public void RemoveFolder() => _folder.Dispose();

    [TestMethod]
    public void Add_Scalars_AreRead()
    {
        using (var file = new EventFile(_folder.File("logs"), step: 0))
        {
            file.Add(1, ("loss", 0.5), ("rate", 1e-3));
            Assert.HasCount(2, Read().Single(), "They cannot be seen before the file is closed.");
            file.Add(2, ("loss", 0.25));
        }
        var events = Read().Single();
        Assert.AreEqual("brain.Event:2", events[0].FileVersion);
        CollectionAssert.AreEqual(new[] { "1 loss 0.5", "1 rate 0.001", "2 loss 0.25" }, Scalars(events));
        foreach (var one in events)
            Assert.AreEqual(DateTimeOffset.UtcNow.ToUnixTimeSeconds(), one.WallTime, 600);
    }

    [TestMethod]
    public void Add_Picture_IsReadWithItsSize()
    {
        string png = _folder.File("a.png");
        ContactSheet.Write(png, [new ContactSheetRow("a", SmallVideos.Gradient(2, 8, 8))]);
        byte[] bytes = File.ReadAllBytes(png);
        using (var file = new EventFile(_folder.File("logs"), step: 0))
            file.Add(3, "samples", bytes);
        var one = Read().Single()[1];
        var image = one.Summary.Value.Single().Image;
        Assert.AreEqual((3L, "samples"), (one.Step, one.Summary.Value.Single().Tag));
        CollectionAssert.AreEqual(bytes, image.EncodedImageString.ToByteArray());
        using var bitmap = SkiaSharp.SKBitmap.Decode(bytes);
        Assert.AreEqual((bitmap.Width, bitmap.Height), (image.Width, image.Height));
    }

    [TestMethod]
    public void Constructor_Resumed_DropsWhatIsSaidOfLaterSteps()
    {
        new EventFile(_folder.File("logs"), step: 0).Dispose();
        new EventFile(_folder.File("logs"), step: 7).Dispose();
        var parts = Read();
        Assert.HasCount(2, parts);
        var start = parts[1][1];
        Assert.AreEqual((8L, SessionLog.Types.SessionStatus.Start), (start.Step, start.SessionLog.Status));
    }

    [TestMethod]
    public void Constructor_FolderIsAFile_SaysSo()
    {
        string taken = _folder.File("logs", [1]);
        Assert.Contains(taken, Assert.ThrowsExactly<IOException>(() => new EventFile(taken, step: 0)).Message);
    }

    [TestMethod]
    public void Run_WithAFolder_WritesWhatTheHistoryHas()
    {
        using var model = Tiny.Video();
        using var data = Tiny.Clips(model);
        var settings = new TrainingSettings { Steps = 3, BatchSize = 2, EvaluateEvery = 2, HeldOutFraction = 0.3, TensorBoardFolder = _folder.File("logs") };
        var history = TrainingLoop.Run(model, data, settings);

        string[] scalars = Scalars(Read().Single());
        string[] Of(string tag, IEnumerable<LossPoint> points) => [.. points.Select(point => FormattableString.Invariant($"{point.Step} {tag} {(float)point.Loss}"))];
        string[] Written(string tag) => [.. scalars.Where(scalar => scalar.Contains($" {tag} ", StringComparison.Ordinal))];
        CollectionAssert.AreEqual(Of("train/loss", history.Losses), Written("train/loss"));
        CollectionAssert.AreEqual(Of("held-out/loss", history.HeldOut), Written("held-out/loss"));
        CollectionAssert.AreEqual(Of("train/learning_rate", [.. Enumerable.Range(1, 3).Select(step => new LossPoint(step, settings.LearningRateAt(step)))]),
            Written("train/learning_rate"));
        foreach (string tag in new[] { "train/gradient_norm", "train/peak_memory_mib", "train/waiting_share" })
            Assert.HasCount(3, Written(tag).Where(scalar => float.Parse(scalar.Split(' ')[2], System.Globalization.CultureInfo.InvariantCulture) > 0));
    }

    private static string[] Scalars(IEnumerable<Event> events) =>
    [
        .. from one in events
           where one.Summary is not null
           from value in one.Summary.Value
           select FormattableString.Invariant($"{one.Step} {value.Tag} {value.SimpleValue}"),
    ];

    /// <summary>The events of each file, as TensorBoard reads them: by records whose sums must be right.</summary>
    private List<List<Event>> Read() => [.. Directory.GetFiles(_folder.File("logs"), "events.out.tfevents.*").Order(StringComparer.Ordinal).Select(Read)];

    private static List<Event> Read(string path)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        using var reader = new BinaryReader(stream);
        var events = new List<Event>();
        byte[] Checked(int count)
        {
            byte[] bytes = reader.ReadBytes(count);
            uint crc = ~bytes.Aggregate(uint.MaxValue, BitOperations.Crc32C);
            Assert.AreEqual(((crc >> 15) | (crc << 17)) + 0xA282EAD8, reader.ReadUInt32());
            return bytes;
        }

        while (stream.Position < stream.Length)
            events.Add(Event.Parser.ParseFrom(Checked((int)BinaryPrimitives.ReadInt64LittleEndian(Checked(sizeof(long))))));
        return events;
    }
}
