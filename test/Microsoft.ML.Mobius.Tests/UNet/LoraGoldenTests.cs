using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.UNet;

/// <summary>LoRAs on the image U-Net and the Serial one against diffusers, in every dialect.</summary>
[TestClass]
public sealed class LoraGoldenTests
{
    private const double Tolerance = 2e-4;

    [TestMethod]
    [DynamicData(nameof(CasesAndDialects))]
    public void Merged_GoldenCase_GivesTheSameOutputsAndComesOffToTheBit(string name, string dialect)
    {
        using var golden = new Golden(name);
        using var network = Network.Of(golden);
        using var file = Dialect(golden, dialect);
        using var stack = new LoraStack();
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var match = network.Match(file);
        Assert.IsEmpty(match.UnmatchedKeys);
        var before = network.Output();
        Close.Assert(golden.Io["out_base"], before, Tolerance);

        foreach (var (key, scale) in new[] { ("out_scale1", 1.0), ("out_scale0.5", 0.5), ("out_fused0.5", 0.5), ("out_scale0", 0) })
        {
            stack.Apply(match, scale);
            Close.Assert(golden.Io[key], network.Output(), Tolerance, key);
            foreach (var (fused, expected) in golden.Io.Where(pair => key == "out_fused0.5" && pair.Key.StartsWith("fused0.5.")))
                Close.Assert(expected, network.Parameters[fused["fused0.5.".Length..]], 1e-6, fused);
            stack.Remove();
            Close.Assert(before, network.Output(), 0);
        }
    }

    [TestMethod]
    [DataRow("lora_unet2d")]
    [DataRow("lora_unet3d")]
    public void Alpha_GoldenCase_ScalesByAlphaOverRank(string name)
    {
        using var golden = new Golden(name);
        using var network = Network.Of(golden);
        using var file = Dialect(golden, "kohya", alpha: golden.Json("case.json")["alpha_for_out_alpha"]!.GetValue<double>());
        using var stack = new LoraStack();
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        stack.Apply(network.Match(file), 1);
        Close.Assert(golden.Io["out_alpha"], network.Output(), Tolerance);
    }

    [TestMethod]
    [DynamicData(nameof(CasesAndDialects))]
    public void Live_GoldenCase_GivesTheSameOutputs(string name, string dialect)
    {
        using var golden = new Golden(name);
        using var network = Network.Of(golden);
        using var file = Dialect(golden, dialect);
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var match = network.Match(file);
        var before = network.Output();
        foreach (var (key, scale) in new[] { ("out_scale1", 1.0), ("out_scale0.5", 0.5), ("out_scale0", 0) })
        {
            using (new LiveLora(match, scale))
                Close.Assert(golden.Io[key], network.Output(), Tolerance, key);
            Close.Assert(before, network.Output(), 0);
        }
    }

    [TestMethod]
    [DataRow("lora_unet2d")]
    [DataRow("lora_unet3d")]
    public void Live_GoldenCase_GivesTheSameGradients(string name)
    {
        using var golden = new Golden(name);
        using var network = Network.Of(golden);
        using var file = Dialect(golden, "peft");
        using var live = new LiveLora(network.Match(file), 1);
        using var scope = NewDisposeScope();
        foreach (var (down, up) in live.Pairs.Values)
            (down.requires_grad, up.requires_grad) = (true, true);

        var loss = nn.functional.mse_loss(network.Output(), golden.Io["target"]);
        loss.backward();

        Close.AssertRelative(golden.Io["loss"][0], loss, 1e-5);
        Tensor Gradient(string key)
        {
            bool isDown = key.EndsWith(".lora.down.weight");
            var (down, up) = live.Pairs["unet." + key[..key.IndexOf(".lora.")]];
            return (isDown ? down : up).grad!;
        }
        foreach (var (key, expected) in golden.Io.Where(pair => pair.Key.StartsWith("grad.")))
            Close.AssertRelative(expected, Gradient(key["grad.".Length..]), 1e-3, key);
        var norms = golden.Json("grad_norms.json").AsObject();
        Assert.AreEqual(2 * live.Pairs.Count, norms.Count);
        foreach (var (key, norm) in norms)
            Assert.AreEqual(norm!.GetValue<double>(), Gradient(key).norm().item<float>(), 1e-3 * norm.GetValue<double>(), key);
    }

    private static IEnumerable<object[]> CasesAndDialects => from name in new[] { "lora_unet2d", "lora_unet3d" }
                                                             from dialect in new[] { "diffusers", "old", "peft", "kohya", "without prefix", "rewritten" }
                                                             select new object[] { name, dialect };

    /// <summary>The case's LoRA: as a file that it has, or its tensors under other names. The tensors that are not read here are the golden case's.</summary>
    private static LoraFile Dialect(Golden golden, string dialect, double? alpha = null)
    {
        switch (dialect)
        {
            case "diffusers":
                return LoraFile.Read(golden.PathOf("pytorch_lora_weights.safetensors"));
            case "old":
                return LoraFile.Read(golden.PathOf("old_format_pytorch_lora_weights.safetensors"));
            case "peft":
                return LoraFile.Read(golden.PathOf("peft_format_pytorch_lora_weights.safetensors"));
            case "without prefix":
                return LoraFile.Of(dialect, golden.Tensors("old_format_pytorch_lora_weights.safetensors").ToDictionary(pair => pair.Key["unet.".Length..], pair => pair.Value));
            case "rewritten":
                using (var network = Network.Of(golden))
                using (var kohya = Dialect(golden, "kohya", alpha: 4))
                using (var folder = new TempFolder())
                {
                    using (var stream = File.Create(folder.File("adapter_model.safetensors")))
                        network.Match(kohya).Write(stream);
                    return LoraFile.Read(folder.Path);
                }
            default:
                var named = new Dictionary<string, Tensor>();
                foreach (var (key, tensor) in golden.Tensors("pytorch_lora_weights.safetensors"))
                {
                    string layer = "lora_unet_" + key["unet.".Length..key.IndexOf(".lora.")].Replace('.', '_');
                    named[layer + (key.EndsWith(".down.weight") ? ".lora_down.weight" : ".lora_up.weight")] = tensor;
                    named[layer + ".alpha"] = tensor_(alpha ?? golden.Json("case.json")["rank"]!.GetValue<double>());
                }
                return LoraFile.Of(dialect, named);
        }

        static Tensor tensor_(double value) => tensor(value, ScalarType.Float32).DetachFromDisposeScope();
    }

    /// <summary>The network of a case, with its inputs.</summary>
    private sealed record Network(nn.Module Module, Func<Tensor> Output, IEnumerable<(string, nn.Module)> Modules, IReadOnlyDictionary<string, Tensor> Parameters)
        : IDisposable
    {
        public static Network Of(Golden golden)
        {
            var files = golden.Json("case.json");
            var (config, weights) = (files["config"]!.GetValue<string>(), files["weights"]!.GetValue<string>());
            var (z, text) = (golden.Io["sample"], golden.Io["encoder_hidden_states"]);
            Tensor Time() => full([z.shape[0]], files["timestep"]!.GetValue<long>(), ScalarType.Int64);
            if (golden.Config<UNetConfig>(config).ClassName == "UNet2DConditionModel")
            {
                var image = golden.Image(config, weights);
                return new Network(image, () => image.call(z, Time(), text), image.named_modules(), image.named_parameters().ToDictionary(p => p.name, p => (Tensor)p.parameter));
            }
            var video = golden.Video(config, weights);
            foreach (var parameter in video.parameters())
                parameter.requires_grad = false;
            return new Network(video, () => video.call(z, Time(), text), video.PublishedModules(), Golden.Named(video));
        }

        public LoraMatch Match(LoraFile file) => LoraMatch.Of(file, ("unet", Modules));

        public void Dispose() => Module.Dispose();
    }
}
