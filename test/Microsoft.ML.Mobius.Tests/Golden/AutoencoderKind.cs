using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.GoldenCases;

internal sealed class AutoencoderKind : GoldenKind
{
    public override bool Fits(Golden golden) => golden.Has("io.safetensors") && golden.Has(golden.ConfigFile)
        && golden.Json(golden.ConfigFile)["_class_name"]?.GetValue<string>() == "AutoencoderKL";

    public override void Check(Golden golden, Tolerances tolerances, Findings findings)
    {
        using var model = new AutoencoderKl(golden.Config<AutoencoderKlConfig>(golden.ConfigFile));
        StateDict.Load(model, golden.Tensors(golden.WeightsFile), golden.WeightsFile);
        model.eval();
        double tolerance = tolerances.Of(5e-5, "max abs");
        var io = golden.Io;
        string[] tags = [.. io.Keys.Where(key => key.EndsWith(".image", StringComparison.Ordinal) && !key.StartsWith("grad.", StringComparison.Ordinal)).Select(key => key[..^".image".Length])];
        using (no_grad())
            foreach (string tag in tags)
            {
                using var scope = NewDisposeScope();
                void Within(string name, Tensor actual) => findings.Within($"{tag}.{name}", io[$"{tag}.{name}"], actual, tolerance);

                var (mean, logVariance) = model.Posterior(io[$"{tag}.image"]);
                Within("mean", mean);
                Within("logvar", logVariance);
                Within("std", logVariance.mul(0.5).exp());
                var latents = model.Encode(io[$"{tag}.image"], io[$"{tag}.noise"]);
                Within("latent_scaled", latents);
                Within("sample", latents / model.Config().ScalingFactor);
                Within("decoded", model.DecodeUnscaled(io[$"{tag}.sample"]));
                Within("decoded_from_scaled", model.Decode(io[$"{tag}.latent_scaled"]));
            }
        using (no_grad())
        using (NewDisposeScope())
            findings.Within("free.decoded", io["free.decoded"], model.DecodeUnscaled(io["free.z"]), tolerance);
        CheckGradients(model, io, tolerances.Of(1e-3, "gradients rel"), findings);
        findings.LeaveOut("kl");
    }

    private static void CheckGradients(AutoencoderKl model, IReadOnlyDictionary<string, Tensor> io, double tolerance, Findings findings)
    {
        using var scope = NewDisposeScope();
        var image = io["even.image"].clone().requires_grad_();
        var loss = (model.call(image) - image).square().mean();
        loss.backward();
        findings.Within("grad.loss", io["grad.loss"].item<float>(), loss.item<float>(), 1e-5);
        var parameters = model.named_parameters().ToDictionary(pair => pair.name, pair => pair.parameter);
        foreach (var (key, expected) in io.Where(pair => pair.Key.StartsWith("grad.", StringComparison.Ordinal) && pair.Key != "grad.loss"))
            findings.WithinOfLargest(key, expected, (key == "grad.image" ? image : parameters[key["grad.".Length..]]).grad!, tolerance);
    }
}
