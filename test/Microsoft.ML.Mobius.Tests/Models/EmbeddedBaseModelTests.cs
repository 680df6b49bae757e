using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Samples.Shapes;
using Microsoft.ML.Mobius.Shapes;
using Microsoft.ML.Mobius.Video;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Models;

/// <summary>What is asked of the base model that the assembly carries.</summary>
[TestClass]
public class EmbeddedBaseModelTests
{
    [TestMethod]
    public void Resources_AllTogether_AreAtMost12MB()
    {
        var assembly = typeof(TextToImageModel).Assembly;
        long size = assembly.GetManifestResourceNames().Where(name => name.StartsWith("Base/", StringComparison.Ordinal))
            .Sum(name => assembly.GetManifestResourceStream(name)!.Length);

        Assert.IsInRange(1_000_000L, 12_000_000L, size);
    }

    [TestMethod]
    public void Autoencoder_DrawnShapes_ComeBackAt30Decibel()
    {
        var random = new Random(5);
        var images = ShapeSpec.All.Where((_, i) => i % 3 == 0).Select(combination => ShapeClip.Sample(random, combination).Render()).ToList();

        double psnr = RoundTripPsnr(images);

        Assert.IsGreaterThanOrEqualTo(30, psnr);
    }

    [TestMethod]
    public void Autoencoder_RealStickers_ComeBackAt24Decibel()
    {
        string folder = Shared.PathOf("data", "stickers");
        var files = Directory.EnumerateFiles(folder, "*.mp4").Order(StringComparer.Ordinal).Where((_, i) => i % 14 == 0);
        var images = files.Select(file => VideoReader.Read(file, new VideoReadOptions { FrameCount = 4, FrameRate = 4 }).Pixels.ToArray()).ToList();

        double psnr = RoundTripPsnr(images);

        Assert.IsGreaterThanOrEqualTo(24, psnr);
    }

    /// <summary>PSNR in dB of the mean squared error over all frames, [F, 64, 64, 3] bytes each.</summary>
    private static double RoundTripPsnr(List<byte[]> clips)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var autoencoder = TextToImageModel.Embedded().Autoencoder;
        double squares = 0;
        foreach (byte[] clip in clips)
        {
            using var inner = NewDisposeScope();
            var x = tensor(clip).reshape(-1, 64, 64, 3).permute(0, 3, 1, 2).to(ScalarType.Float32).div(127.5).sub(1);
            var y = autoencoder.Decode(autoencoder.Encode(x)).clamp(-1, 1);
            squares += (x - y).square().mean().item<float>();
        }
        double psnr = 10 * Math.Log10(4 / (squares / clips.Count));
        Console.WriteLine($"{clips.Count} clips, {psnr:F2} dB");
        return psnr;
    }
}
