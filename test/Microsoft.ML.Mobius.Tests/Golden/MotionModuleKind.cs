using Microsoft.ML.Mobius.UNet;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.GoldenCases;

/// <summary>AnimateDiff motion modules around an image U-Net: names, outputs and gradients.</summary>
internal sealed class MotionModuleKind : GoldenKind
{
    public override bool Fits(Golden golden) => golden.Case?["motion_adapter"] is not null && golden.Has("io.safetensors");

    public override void Check(Golden golden, Tolerances tolerances, Findings findings)
    {
        double outputs = tolerances.Of(2e-4, "outputs max abs", "outputs"), gradients = tolerances.Of(1e-3, "gradients max abs", "gradients rel");
        using var modules = MotionModules.Open(
            golden.PathOf(golden.Case!["motion_adapter"]!.GetValue<string>()), golden.Config<MotionConfig>("motion_adapter_config.json"));
        string config = golden.Case["config2d"]!.GetValue<string>();
        using var unet = VideoUNet.Around(golden.Image(config, golden.Case["weights2d"]!.GetValue<string>()),
            golden.Config<UNetConfig>(config) with { Layout = UNetLayout.Serial, Motion = modules.Config });
        modules.LoadInto(unet.Temporal);
        unet.eval();

        static string Published(string name) => name.Replace("temp_attentions", "motion_modules");
        if (golden.Has("state_dict_keys.json"))
            findings.Holds("the names are not those of UNetMotionModel", golden.Json("state_dict_keys.json").AsObject().Select(pair => pair.Key)
                .ToHashSet().SetEquals(unet.Spatial.state_dict().Keys.Concat(unet.Temporal.state_dict().Keys.Select(Published))));

        var (z, text) = (golden.Io["sample"], golden.Io["encoder_hidden_states"]);
        Tensor Output(string t) => unet.call(z, full([z.shape[0]], long.Parse(t), ScalarType.Int64), text);
        using (no_grad())
            foreach (var (key, expected) in golden.Io.Where(pair => pair.Key.StartsWith("out_t", StringComparison.Ordinal)))
            {
                using var scope = NewDisposeScope();
                findings.Within(key, expected, Output(key["out_t".Length..]), outputs);
            }

        var parameters = Golden.Named(unet).ToDictionary(pair => Published(pair.Key), pair => pair.Value);
        foreach (string key in golden.Io.Keys.Where(key => key.StartsWith("loss_t", StringComparison.Ordinal)))
        {
            using var scope = NewDisposeScope();
            var loss = nn.functional.mse_loss(Output(key["loss_t".Length..]), golden.Io["target"]);
            loss.backward();
            findings.Within(key, golden.Io[key].item<float>(), loss.item<float>(), 1e-5);
            foreach (var (name, expected) in golden.Io.Where(pair => pair.Key.StartsWith("grad.", StringComparison.Ordinal)))
                findings.WithinOfLargest(name, expected, parameters[name["grad.".Length..]].grad!, gradients);
        }
    }
}
