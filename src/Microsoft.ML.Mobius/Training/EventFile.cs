using System.Buffers.Binary;
using Google.Protobuf;
using Microsoft.ML.Mobius.Files;
using Tensorboard;
using TorchSharp.Utils;

namespace Microsoft.ML.Mobius.Training;

/// <summary>
/// A file of scalars and pictures for TensorBoard. Each part of a run that was resumed has its own, in one folder; TensorBoard makes one curve of them.
/// </summary>
/// <remarks>
/// Records of TFRecord: u64 length, masked CRC-32C of it, an Event, masked CRC-32C of that; little-endian. TorchSharp's SummaryWriter is not used: its
/// wall-clock times are 0 or counted in the wrong unit, and it opens the file anew for every number.
/// </remarks>
internal sealed class EventFile : IDisposable
{
    /// <summary>What the folder is called in messages.</summary>
    public const string Role = "The folder of TensorBoard's files";

    private readonly FileStream _file;

    /// <param name="folder">Made if it is missing.</param>
    /// <param name="step">Steps done; what files before say of later steps does not count.</param>
    /// <exception cref="IOException">The folder or the file cannot be written.</exception>
    public EventFile(string folder, int step)
    {
        var now = DateTimeOffset.UtcNow;
        string name = FormattableString.Invariant($"events.out.tfevents.{now.ToUnixTimeSeconds():D10}.{now.UtcTicks % TimeSpan.TicksPerSecond:D7}");
        WritableFolder.Make(folder, Role);
        _file = new FileStream(Path.Combine(folder, name), FileMode.CreateNew, FileAccess.Write, FileShare.Read);
        Write(new Event { FileVersion = "brain.Event:2" });
        if (step > 0)
            Write(new Event { Step = step + 1, SessionLog = new SessionLog { Status = SessionLog.Types.SessionStatus.Start } });
    }

    /// <summary>Adds scalars of a step; they can be seen at once.</summary>
    /// <exception cref="IOException">The disk is full.</exception>
    public void Add(int step, params (string Tag, double Value)[] scalars)
    {
        var summary = new Summary();
        summary.Value.AddRange(scalars.Select(scalar => new Summary.Types.Value { Tag = scalar.Tag, SimpleValue = (float)scalar.Value }));
        Write(new Event { Step = step, Summary = summary });
    }

    /// <summary>Adds a picture of a step.</summary>
    /// <param name="step">Steps done.</param>
    /// <param name="tag">Its name.</param>
    /// <param name="png">A PNG file.</param>
    /// <exception cref="IOException">The disk is full.</exception>
    public void Add(int step, string tag, byte[] png)
    {
        const int Rgb = 3, Width = 16, Height = 20;                                     // where the head of a PNG file has its sides
        var image = new Summary.Types.Image
        {
            Colorspace = Rgb, EncodedImageString = ByteString.CopyFrom(png),
            Width = BinaryPrimitives.ReadInt32BigEndian(png.AsSpan(Width)), Height = BinaryPrimitives.ReadInt32BigEndian(png.AsSpan(Height)),
        };
        var summary = new Summary();
        summary.Value.Add(new Summary.Types.Value { Tag = tag, Image = image });
        Write(new Event { Step = step, Summary = summary });
    }

    public void Dispose() => _file.Dispose();

    private void Write(Event one)
    {
        one.WallTime = (DateTimeOffset.UtcNow - DateTimeOffset.UnixEpoch).TotalSeconds;
        byte[] content = one.ToByteArray(), length = new byte[sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(length, content.Length);
        Span<byte> sum = stackalloc byte[sizeof(uint)];
        foreach (byte[] part in new[] { length, content })
        {
            BinaryPrimitives.WriteUInt32LittleEndian(sum, Masked(CRC32C.process(part)));
            _file.Write(part);
            _file.Write(sum);
        }
        _file.Flush();
    }

    private static uint Masked(uint crc) => uint.RotateRight(crc, 15) + 0xA282EAD8;
}
