using Microsoft.ML.Mobius.Video;
using SkiaSharp;

namespace Microsoft.ML.Mobius.Tests.Video;

[TestClass]
public sealed class ContactSheetTests
{
    private readonly SmallVideos _videos = new();

    [TestCleanup]
    public void RemoveVideos() => _videos.Dispose();

    [TestMethod]
    public void Write_Rows_PutsEveryFrameInItsPlace()
    {
        string path = _videos.PathOf("deep", "sheet.png");
        var clip = SmallVideos.Gradient(3, 10, 12);

        ContactSheet.Write(path, [new("short", SmallVideos.Gradient(2, 10, 12)), new("a caption of many words that takes lines", clip)], scale: 3);

        using var sheet = SKBitmap.Decode(path);
        int left = sheet.Width - 3 * (12 * 3 + 4);
        int secondRow = 10 * 3 + 2 * 4 + 1;
        for (int k = 0; k < 3; k++)
        {
            var frame = clip.Frame(k);
            int i = (5 * 12 + 7) * 3;
            Assert.AreEqual(new SKColor(frame[i], frame[i + 1], frame[i + 2]), sheet.GetPixel(left + k * 40 + 7 * 3 + 1, secondRow + 4 + 5 * 3 + 1));
        }
        Assert.AreEqual(SKColors.White, sheet.GetPixel(sheet.Width - 10, 15));          // the first row has no third frame
        Assert.AreNotEqual(SKColors.White, sheet.GetPixel(sheet.Width / 2, secondRow - 1));
        CollectionAssert.AreEqual(new[] { path }, Directory.GetFileSystemEntries(_videos.PathOf("deep")));
    }

    [TestMethod]
    public void Write_BadArgument_NamesIt()
    {
        Assert.ThrowsExactly<ArgumentException>(() => ContactSheet.Write("x.png", []));
        Assert.ThrowsExactly<ArgumentException>(() => ContactSheet.Write("x.jpg", [new("a", SmallVideos.Gradient())]));
        Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => ContactSheet.Write("x.png", [new("a", SmallVideos.Gradient())], 0));
    }

    [TestMethod]
    public void Write_Stickers_MakesAPicture()
    {
        string[] names = ["1-smile", "138-fire", "116-robot", "119-sun-with-face"];
        var rows = names.Select(n => new ContactSheetRow(
            n == "138-fire" ? "fire that burns with a caption that must be wrapped over anextremelylongwordthatfitsnowhere" : n,
            VideoReader.Read(Shared.PathOf("data", "stickers", n + ".mp4")))).ToArray();
        string path = _videos.PathOf("sheet.png");
        ContactSheet.Write(path, rows);
        if (Environment.GetEnvironmentVariable("MOBIUS_SHEET") is { } keep)
            File.Copy(path, keep, true);
        using var sheet = SKBitmap.Decode(path);
        Assert.IsTrue(sheet.Width > 8 * 128);
    }
}
