using Microsoft.ML.Mobius.UNet;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.GoldenCases;

/// <summary>An image U-Net applied frame by frame: what the video U-Nets around it must give before they are trained.</summary>
internal sealed class InflationKind : GoldenKind
{
    private const string File = "io_inflation.safetensors", Config = "unet/config.json", Weights = "unet/diffusion_pytorch_model.safetensors";

    public override bool Fits(Golden golden) => golden.Has(File) && golden.Has(Config) && golden.Has(Weights);

    public override void Check(Golden golden, Tolerances tolerances, Findings findings)
    {
        var io = golden.Tensors(File).ToDictionary(pair => pair.Key.Replace("inflation.", ""), pair => pair.Value);
        double tolerance = tolerances.Of(2e-4, "single UNet call");
        var settings = golden.Config<UNetConfig>(Config);
        using var _ = no_grad();
        foreach (var layout in new[] { UNetLayout.Serial, UNetLayout.StreamParallel })
        {
            using var unet = VideoUNet.Around(golden.Image(Config, Weights), settings with { Layout = layout });
            unet.eval();
            foreach (var (key, expected) in io.Where(pair => pair.Key == "out" || pair.Key.StartsWith("out_t", StringComparison.Ordinal)))
            {
                using var scope = NewDisposeScope();
                var t = key == "out" ? io["timesteps"] : full([io["sample"].shape[0]], long.Parse(key["out_t".Length..]), ScalarType.Int64);
                findings.Within($"{key} of {layout}", expected, unet.call(io["sample"], t, io["encoder_hidden_states"]), tolerance);
            }
        }
    }
}
