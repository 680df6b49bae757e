using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Autoencoder;

[TestClass]
public sealed class AutoencoderKlTests
{
    [TestMethod]
    [DataRow(1)]
    [DataRow(3)]
    [DataRow(8)]
    [DataRow(1000)]
    public void Decode_FewRowsAtATime_IsTheSameButForRounding(int rows)
    {
        random.manual_seed(3);
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        using var autoencoder = new AutoencoderKl(new AutoencoderKlConfig { BlockOutChannels = [8, 8, 16], NormNumGroups = 4 });
        foreach (var parameter in autoencoder.parameters())
            parameter.add_(0.05 * randn_like(parameter));                                 // norms and biases, too
        var latents = randn(2, 4, 5, 7);
        Close.AssertRelative(autoencoder.Decode(latents), autoencoder.Decode(latents, rows), 2e-5);
    }

    [TestMethod]
    public void Decode_FewRowsAtATime_OfARealPictureIsAbove45Decibel()
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var image = TextToImageModel.Embedded();
        using var autoencoder = image.Autoencoder;
        using var video = new DisposedWith(image.TextEncoder, image.UNet);
        var clip = SmallVideos.Gradient(frames: 1, height: 96, width: 128);
        var picture = tensor(clip.Pixels.ToArray()).reshape(1, 96, 128, 3).permute(0, 3, 1, 2).to(ScalarType.Float32).div(127.5).sub(1);
        var latents = autoencoder.Encode(picture);
        Tensor Pixels(int rows) => autoencoder.Decode(latents, rows).add(1).mul(127.5).clamp(0, 255);
        double square = (Pixels(0) - Pixels(8)).square().mean().item<float>();
        Assert.IsGreaterThan(45, 10 * Math.Log10(255 * 255 / Math.Max(square, 1e-12)));
    }

    private sealed class DisposedWith(params IDisposable[] others) : IDisposable
    {
        public void Dispose()
        {
            foreach (var other in others)
                other.Dispose();
        }
    }
}
