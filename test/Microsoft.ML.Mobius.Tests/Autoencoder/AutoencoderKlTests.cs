using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Autoencoder;

[TestClass]
public sealed class AutoencoderKlTests
{
    [TestMethod]
    [DataRow("even")]
    [DataRow("odd")]
    public void EncodeAndDecode_GoldenCase_GiveTheSame(string tag)
    {
        using var golden = new Golden("vae");
        using var model = Model(golden);
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        Tensor Io(string name) => golden.Io[$"{tag}.{name}"];

        var (mean, logVariance) = model.Posterior(Io("image"));
        Close.Assert(Io("mean"), mean, 5e-5, "mean");
        Close.Assert(Io("logvar"), logVariance, 5e-5, "log variance");
        Close.Assert(Io("latent_scaled"), model.Encode(Io("image"), Io("noise")), 5e-5, "latents");
        Close.Assert(Io("mean") * 0.18215, model.Encode(Io("image")), 5e-5, "latents without noise");
        Close.Assert(Io("decoded"), model.DecodeUnscaled(Io("sample")), 5e-5, "decoded");
        Close.Assert(Io("decoded_from_scaled"), model.Decode(Io("latent_scaled")), 5e-5, "decoded from scaled");
    }

    [TestMethod]
    public void Decode_AnyGoldenLatents_GivesTheSame()
    {
        using var golden = new Golden("vae");
        using var model = Model(golden);
        using var scope = NewDisposeScope();
        Close.Assert(golden.Io["free.decoded"], model.DecodeUnscaled(golden.Io["free.z"]), 5e-5);
    }

    [TestMethod]
    public void Backward_GoldenCase_GivesTheSameGradients()
    {
        using var golden = new Golden("vae");
        using var model = Model(golden);
        using var scope = NewDisposeScope();
        var image = golden.Io["even.image"].clone().requires_grad_();

        var loss = (model.call(image) - image).square().mean();
        loss.backward();

        Assert.AreEqual(golden.Io["grad.loss"].item<float>(), loss.item<float>(), 1e-5);
        var parameters = model.named_parameters().ToDictionary(pair => pair.name, pair => pair.parameter);
        foreach (var (key, expected) in golden.Io.Where(pair => pair.Key.StartsWith("grad.") && pair.Key != "grad.loss"))
            Close.AssertRelative(expected, (key == "grad.image" ? image : parameters[key["grad.".Length..]]).grad!, 1e-3, key);
    }

    private static AutoencoderKl Model(Golden golden)
    {
        var model = new AutoencoderKl(golden.Config<AutoencoderKlConfig>());
        StateDict.Load(model, golden.Tensors("weights.safetensors"), "vae");
        return model;
    }
}
