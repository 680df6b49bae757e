using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.GoldenCases;

/// <summary>A LoRA on an image or a Serial U-Net, merged and live, in every dialect that the folder has or that its names can be written in.</summary>
internal sealed class LoraKind : GoldenKind
{
    private const string File = "pytorch_lora_weights.safetensors";

    public override bool Fits(Golden golden) => golden.Case?["lora"] is not null && golden.Has("io.safetensors");

    public override void Check(Golden golden, Tolerances tolerances, Findings findings)
    {
        double outputs = tolerances.Of(2e-4, "outputs max abs", "outputs"), gradients = tolerances.Of(1e-3, "gradients max abs", "gradients rel");
        using var network = Network.Of(golden);
        foreach (string dialect in Dialects(golden))
        {
            using var file = Read(golden, dialect);
            CheckOutputs(network, golden, dialect, network.Match(file), outputs, findings);
        }
        if (golden.Io.TryGetValue("out_alpha", out var scaled))
            using (var file = Read(golden, "kohya", alpha: golden.Case!["alpha_for_out_alpha"]!.GetValue<double>()))
            using (new LiveLora(network.Match(file), 1))
                findings.Within("out_alpha", scaled, Frozen(network), outputs);
        CheckGradients(network, golden, gradients, findings);
    }

    private static Tensor Frozen(Network network)
    {
        using var _ = no_grad();
        return network.Output();
    }

    private static void CheckOutputs(Network network, Golden golden, string dialect, LoraMatch match, double tolerance, Findings findings)
    {
        using var scope = NewDisposeScope();
        findings.Holds($"{dialect}: {match.UnmatchedKeys.Count} keys match nothing", match.UnmatchedKeys.Count == 0);
        var before = Frozen(network);
        findings.Within("out_base", golden.Io["out_base"], before, tolerance);
        using var stack = new LoraStack();
        foreach (string key in golden.Io.Keys.Where(key => key.StartsWith("out_scale", StringComparison.Ordinal) || key.StartsWith("out_fused", StringComparison.Ordinal)))
        {
            string factor = key["out_scale".Length..];                                    // as long as out_fused
            double scale = double.Parse(factor, System.Globalization.CultureInfo.InvariantCulture);
            stack.Apply(match, scale);
            findings.Within($"{dialect}: {key}", golden.Io[key], Frozen(network), tolerance);
            foreach (var (fused, expected) in golden.Io.Where(pair => key.StartsWith("out_fused", StringComparison.Ordinal)
                && pair.Key.StartsWith($"fused{factor}.", StringComparison.Ordinal)))
                findings.Within(fused, expected, network.Parameters[fused[$"fused{factor}.".Length..]], 1e-6);
            stack.Remove();
            findings.Within($"{dialect}: after {key} came off", before, Frozen(network), 0);
            using (new LiveLora(match, scale))
                findings.Within($"{dialect}, live: {key}", golden.Io[key], Frozen(network), tolerance);
        }
    }

    private static void CheckGradients(Network network, Golden golden, double tolerance, Findings findings)
    {
        using var scope = NewDisposeScope();
        using var file = Read(golden, "diffusers");
        using var live = new LiveLora(network.Match(file), 1);
        foreach (var (down, up) in live.Pairs.Values)
            (down.requires_grad, up.requires_grad) = (true, true);
        var loss = nn.functional.mse_loss(network.Output(), golden.Io["target"]);
        loss.backward();

        findings.Within("loss", golden.Io["loss"].item<float>(), loss.item<float>(), 1e-5);
        Tensor Gradient(string key)
        {
            var (down, up) = live.Pairs["unet." + key[..key.IndexOf(".lora.", StringComparison.Ordinal)]];
            return (key.EndsWith(".lora.down.weight", StringComparison.Ordinal) ? down : up).grad!;
        }
        foreach (var (key, expected) in golden.Io.Where(pair => pair.Key.StartsWith("grad.", StringComparison.Ordinal)))
            findings.WithinOfLargest(key, expected, Gradient(key["grad.".Length..]), tolerance);
        var norms = golden.Json("grad_norms.json").AsObject();
        findings.Holds($"{2 * live.Pairs.Count} matrices instead of {norms.Count}", 2 * live.Pairs.Count == norms.Count);
        foreach (var (key, norm) in norms)
            findings.Within($"the norm of the gradient of {key}", norm!.GetValue<double>(), Gradient(key).norm().item<float>(), tolerance);
    }

    private static IEnumerable<string> Dialects(Golden golden)
        => new[] { "diffusers", "kohya", "without prefix", "old", "peft" }.Where(dialect => dialect is not ("old" or "peft") || golden.Has($"{dialect}_format_{File}"));

    /// <summary>The case's LoRA: a file that it has, or its tensors under other names.</summary>
    private static LoraFile Read(Golden golden, string dialect, double? alpha = null)
    {
        switch (dialect)
        {
            case "diffusers":
                return LoraFile.Read(golden.PathOf(golden.Case!["lora"]!.GetValue<string>()));
            case "old" or "peft":
                return LoraFile.Read(golden.PathOf($"{dialect}_format_{File}"));
            case "without prefix":
                return LoraFile.Of(dialect, golden.Tensors(golden.Case!["lora"]!.GetValue<string>()).ToDictionary(pair => pair.Key["unet.".Length..], pair => pair.Value));
            default:
                var named = new Dictionary<string, Tensor>();
                foreach (var (key, matrix) in golden.Tensors(golden.Case!["lora"]!.GetValue<string>()))
                {
                    string layer = "lora_unet_" + key["unet.".Length..key.IndexOf(".lora.", StringComparison.Ordinal)].Replace('.', '_');
                    named[layer + (key.EndsWith(".down.weight", StringComparison.Ordinal) ? ".lora_down.weight" : ".lora_up.weight")] = matrix;
                    named[layer + ".alpha"] = tensor(alpha ?? golden.Case["rank"]!.GetValue<double>(), ScalarType.Float32).DetachFromDisposeScope();
                }
                return LoraFile.Of(dialect, named);
        }
    }

    /// <summary>The network of a case, frozen, with its inputs.</summary>
    private sealed record Network(nn.Module Module, Func<Tensor> Output, IEnumerable<(string, nn.Module)> Modules, IReadOnlyDictionary<string, Tensor> Parameters)
        : IDisposable
    {
        public static Network Of(Golden golden)
        {
            var (z, text) = (golden.Io["sample"], golden.Io["encoder_hidden_states"]);
            Tensor Time() => full([z.shape[0]], golden.Case!["timestep"]!.GetValue<long>(), ScalarType.Int64);
            Network network;
            if (golden.Json(golden.ConfigFile)["_class_name"]?.GetValue<string>() == "UNet2DConditionModel")
            {
                var image = golden.Image(golden.ConfigFile, golden.WeightsFile);
                network = new Network(image, () => image.call(z, Time(), text), image.named_modules(), image.named_parameters().ToDictionary(p => p.name, p => (Tensor)p.parameter));
            }
            else
            {
                var video = golden.Video(golden.ConfigFile, golden.WeightsFile);
                network = new Network(video, () => video.call(z, Time(), text), video.PublishedModules(), Golden.Named(video));
            }
            foreach (var parameter in network.Module.parameters())
                parameter.requires_grad = false;
            return network;
        }

        public LoraMatch Match(LoraFile file) => LoraMatch.Of(file, ("unet", Modules));

        public void Dispose() => Module.Dispose();
    }
}
