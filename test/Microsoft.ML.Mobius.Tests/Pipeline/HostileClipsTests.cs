using System.Buffers.Binary;
using System.Diagnostics;
using Microsoft.ML.Mobius.Training;

namespace Microsoft.ML.Mobius.Tests.Pipeline;

/// <summary>Clips that are damaged, or merely odd: each is used as what it shows, or named and skipped; none makes training hang or crash.</summary>
[TestClass]
public sealed class HostileClipsTests
{
    private const string Red = "-f lavfi -i color=red:s=48x32:r=25:d=0.4";

    private static readonly string[] s_odd =
        ["variable rate", "odd sides", "one frame", "picture", "alpha", "10 bits", "rotated", "gif named mp4", "webm named png", "sound beside"];

    private static readonly string[] s_useless = ["empty", "text", "huge png", "huge webp", "head alone", "sound alone", "folder", "zeros"];

    private static readonly string[] s_damaged = ["cut mp4", "cut mkv", "cut gif", "cut webp", "flipped mp4", "flipped mkv", "flipped gif", "flipped webp", "huge gif"];

    private readonly TinyPipeline _tiny = new();
    private readonly SmallVideos _videos = new();

    [TestCleanup]
    public void RemoveVideos() => _videos.Dispose();

    [TestMethod]
    public void Read_OneOfEachKind_UsesOrNamesIt() => Read(s_odd.Length + s_useless.Length + s_damaged.Length);

    [TestMethod, TestCategory("Heavy")]
    public void Read_TwoHundredClips_UsesOrNamesEach() => Read(200);

    private void Read(int count)
    {
        string[] kinds = [.. s_odd, .. s_useless, .. s_damaged];
        var clips = Enumerable.Range(0, count).Select(i => (Kind: kinds[i % kinds.Length], Path: Make(kinds[i % kinds.Length], i))).ToArray();
        using var rows = new TinyRows(_tiny, options =>
        {
            (options.ClipColumnName, options.BrokenClips, options.ClipSeconds) = ("Path", BrokenClip.Skip, 60);
            (options.AspectRatioBuckets, options.FrameBuckets) = (true, [1, 2]);
        });
        var clock = Stopwatch.StartNew();
        var used = rows.Read([.. clips.Select(clip => new TinyPipeline.Row { Caption = clip.Path, Path = clip.Path })])
            .ToDictionary(row => row.Caption, row => row.Clips.Single());

        Assert.AreEqual(count, used.Count + rows.Skipped);
        foreach (var (kind, path) in clips)
        {
            if (s_odd.Contains(kind) || s_useless.Contains(kind))
                Assert.AreEqual(s_odd.Contains(kind), used.ContainsKey(path), kind);
            if (!used.TryGetValue(path, out var clip))
                Assert.IsTrue(_tiny.Logged("Warning", path), $"{kind} is skipped without a word.");
            else if (s_odd.Contains(kind))
            {
                var middle = clip.Frame(clip.FrameCount - 1).Slice((clip.Height / 2 * clip.Width + clip.Width / 2) * 3, 3);
                Assert.IsTrue(middle[0] > 200 && middle[1] < 60 && middle[2] < 60, $"{kind} is not red: {middle[0]} {middle[1]} {middle[2]}");
                Assert.AreEqual(kind is "one frame" or "picture" ? 1 : 2, clip.FrameCount, kind);
                Assert.AreEqual(kind == "rotated", clip.Height > clip.Width, kind);
            }
        }
        Assert.IsTrue(clock.Elapsed < TimeSpan.FromSeconds(60 + 5 * count));
    }

    private string Make(string kind, int number)
    {
        string Encode(string options) => _videos.Make($"{Red} {options}");
        string webm = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8", anim = "-c:v libwebp_anim -loop 0";
        switch (kind)
        {
            case "variable rate": return Encode($"-vf select='not(mod(n,3))+lt(n,8)' -fps_mode vfr {number}.mkv");
            case "odd sides": return Encode($"-vf scale=49:33 -c:v ffv1 {number}.mkv");
            case "one frame": return Encode($"-frames:v 1 {number}.mp4");
            case "picture": return Encode($"-frames:v 1 {number}.jpg");
            case "alpha": return _videos.RedBoxOnNothing($"-c:v apng -f apng {number}.png");
            case "10 bits": return Encode($"-c:v ffv1 -pix_fmt yuv420p10le {number}.mkv");
            case "rotated":
                Encode($"{number}.flat.mp4");
                return _videos.Make($"-i {number}.flat.mp4 -c copy -metadata:s:v rotate=90 {number}.mp4");
            case "gif named mp4": return Renamed(Encode($"{number}.gif"), ".mp4");
            case "webm named png": return Renamed(Encode($"{webm} {number}.webm"), ".png");
            case "sound beside": return _videos.Make($"-f lavfi -i sine=d=1 {Red} {number}.mp4");
            case "empty": return Written(number, ".mp4", []);
            case "text": return Written(number, ".webm", "no video at all"u8);
            case "zeros": return Written(number, ".mp4", new byte[5000]);
            case "folder": return Directory.CreateDirectory(_videos.PathOf($"{number}.mp4")).FullName;
            case "sound alone": return _videos.Make($"-f lavfi -i sine=d=1 {number}.wav");
            case "head alone": return Written(number, ".mp4", File.ReadAllBytes(Encode($"{number}.whole.mp4"))[..40]);
            case "huge png": return Written(number, ".png", HugePng(File.ReadAllBytes(Encode($"-frames:v 1 {number}.whole.png"))));
            case "huge webp": return Written(number, ".webp", HugeWebp);
            case "huge gif":
                byte[] gif = File.ReadAllBytes(Encode($"{number}.whole.gif"));
                gif.AsSpan(6, 4).Fill(0xFF);
                return Written(number, ".gif", gif);
        }
        var random = new Random(number);
        string[] words = kind.Split(' ');
        byte[] bytes = File.ReadAllBytes(Encode(words[1] == "webp" ? $"{anim} {number}.whole.webp" : $"{number}.whole.{words[1]}"));
        if (words[0] == "cut")
            bytes = bytes[..random.Next(1, bytes.Length)];
        for (int i = 0; words[0] == "flipped" && i < 1 + bytes.Length / 100; i++)
            bytes[random.Next(bytes.Length)] ^= (byte)(1 << random.Next(8));
        return Written(number, "." + words[1], bytes);
    }

    private string Written(int number, string extension, ReadOnlySpan<byte> bytes)
    {
        string path = _videos.PathOf($"{number}{extension}");
        File.WriteAllBytes(path, bytes);
        return path;
    }

    private static string Renamed(string path, string extension)
    {
        File.Move(path, Path.ChangeExtension(path, extension));
        return Path.ChangeExtension(path, extension);
    }

    /// <summary>Says that it has 60000x60000 pixels, under a right sum.</summary>
    private static byte[] HugePng(byte[] png)
    {
        BinaryPrimitives.WriteInt32BigEndian(png.AsSpan(16), 60000);
        BinaryPrimitives.WriteInt32BigEndian(png.AsSpan(20), 60000);
        uint crc = uint.MaxValue;
        foreach (byte one in png.AsSpan(12, 17))
        {
            crc ^= one;
            for (int bit = 0; bit < 8; bit++)
                crc = (crc & 1) != 0 ? (crc >> 1) ^ 0xEDB88320 : crc >> 1;
        }
        BinaryPrimitives.WriteUInt32BigEndian(png.AsSpan(29), ~crc);
        return png;
    }

    /// <summary>An extended WebP head of 16384x16384 pixels.</summary>
    private static ReadOnlySpan<byte> HugeWebp =>
    [
        (byte)'R', (byte)'I', (byte)'F', (byte)'F', 22, 0, 0, 0, (byte)'W', (byte)'E', (byte)'B', (byte)'P', (byte)'V', (byte)'P', (byte)'8', (byte)'X',
        10, 0, 0, 0, 2, 0, 0, 0, 0xFF, 0x3F, 0, 0xFF, 0x3F, 0,
    ];
}
