using System.Text.Json;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.UNet;

[TestClass]
public sealed class SpatialStreamTests
{
    [TestMethod]
    public void Forward_StableDiffusionGoldenCase_GivesTheSameOutputs()
    {
        using var pipeline = new Golden("pipeline_sd");
        using var golden = new Golden("unet2d_sd15");
        using var stream = new SpatialStream(pipeline.Config<UNetConfig>("unet/config.json"));
        using var _ = no_grad();
        // Its projections are 1x1 convolutions, which are linear layers over the positions.
        StateDict.Load(stream, pipeline.Tensors("unet/diffusion_pytorch_model.safetensors").ToDictionary(pair => pair.Key,
            pair => pair.Key.EndsWith("proj_in.weight") || pair.Key.EndsWith("proj_out.weight") ? pair.Value.flatten(1) : pair.Value), "unet");
        var io = golden.Io;
        foreach (var (key, expected) in io.Where(pair => pair.Key.StartsWith("out_") && !pair.Key.Contains("masked")))
        {
            using var scope = NewDisposeScope();
            bool odd = key.StartsWith("out_odd");
            var sample = odd ? io["sample_odd"] : io["sample"];
            var t = key == "out_tvec" ? io["timestep_vec"] : full([sample.shape[0]], long.Parse(key[(key.LastIndexOf('t') + 1)..]), ScalarType.Int64);
            Close.Assert(expected, stream.call(sample, t, odd ? io["encoder_hidden_states"][..1] : io["encoder_hidden_states"]), 2e-4, key);
        }
    }

    [TestMethod]
    public void Config_WrittenAndRead_IsTheSame()
    {
        var config = Tiny.UNet with { TemporalWidthDivisor = 4, Lateral = Lateral.Identity, Layout = UNetLayout.Serial };
        var read = JsonSerializer.Deserialize<UNetConfig>(JsonSerializer.Serialize(config))!;
        Assert.AreEqual(JsonSerializer.Serialize(config), JsonSerializer.Serialize(read));
        Assert.AreEqual(UNetLayout.Serial, read.Layout);
    }

    [TestMethod]
    public void Heads_OfBothClasses_CountAsDiffusersDoes()
    {
        Assert.AreEqual(4, Tiny.UNet.Heads(32));
        Assert.AreEqual(8, (Tiny.UNet with { ClassName = "UNet3DConditionModel" }).Heads(32));
    }
}
