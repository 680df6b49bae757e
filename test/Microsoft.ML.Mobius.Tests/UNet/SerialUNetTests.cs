using Microsoft.ML.Mobius.Layers;
using Microsoft.ML.Mobius.UNet;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.UNet;

[TestClass]
public sealed class SerialUNetTests
{
    [TestMethod]
    [DataRow("unet3d_l2", 2e-4)]
    [DataRow("unet3d_l4", 2e-4)]
    [DataRow("mobius_series", 1e-4)]
    public void Forward_GoldenCase_GivesTheSameOutputs(string name, double tolerance)
    {
        using var golden = new Golden(name);
        using var unet = golden.Serial();
        using var _ = no_grad();
        var (io, sample) = (golden.Io, golden.Io["sample"]);
        foreach (var (key, expected) in io.Where(pair => pair.Key.StartsWith("out_")))
        {
            using var scope = NewDisposeScope();
            bool single = key.StartsWith("out_single_frame_t");
            var t = key == "out_tvec" ? io["timestep_vec"] : full([sample.shape[0]], long.Parse(key[(key.LastIndexOf('t') + 1)..]), ScalarType.Int64);
            Close.Assert(expected, unet.call(single ? sample[.., .., ..1] : sample, t, io["encoder_hidden_states"]), tolerance, key);
        }
    }

    [TestMethod]
    [DataRow("unet3d_l2")]
    [DataRow("unet3d_l4")]
    [DataRow("mobius_series")]
    public void Backward_GoldenCase_GivesTheSameGradients(string name)
    {
        using var golden = new Golden(name);
        using var unet = golden.Serial(trainAll: true);
        using var scope = NewDisposeScope();
        var io = golden.Io;
        var (sample, text) = (io["sample"].clone().requires_grad_(), io["encoder_hidden_states"].clone().requires_grad_());

        var loss = nn.functional.mse_loss(unet.call(sample, io["timestep_vec"], text), io["target"]);
        loss.backward();

        Assert.AreEqual(io["loss_tvec"].item<float>(), loss.item<float>(), 1e-5);
        var parameters = Golden.Named(unet);
        var file = golden.Json("grad_norms.json").AsObject();
        var norms = file["norms"]?.AsObject() ?? file;
        var zero = (file["noise_level"] ?? golden.Json("zero_gradient_params.json")).AsArray().Select(node => node!.GetValue<string>()).ToHashSet();
        foreach (var (key, expected) in io.Where(pair => pair.Key.StartsWith("grad.") && !zero.Contains(pair.Key["grad.".Length..])))
        {
            var of = key["grad.".Length..] switch { "sample" => sample, "encoder_hidden_states" => text, var named => parameters[named] };
            Close.AssertRelative(expected, of.grad!, 1e-3, key);
        }
        Assert.AreEqual(parameters.Count, norms.Count);
        foreach (var (key, norm) in norms.Where(pair => !zero.Contains(pair.Key)))
            Assert.AreEqual(norm!.GetValue<double>(), parameters[key].grad!.norm().item<float>(), 1e-3 * norm.GetValue<double>(), key);
    }

    [TestMethod]
    [DataRow(false)]
    [DataRow(true)]
    public void Forward_AtTheStart_IsTheImageModel(bool told)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        random.manual_seed(1);
        var spatial = Tiny.Spatial(Tiny.UNet);
        using var unet = VideoUNet.Around(spatial, Tiny.UNet with { Layout = UNetLayout.Serial, TemporalText = told, FramePositions = told });
        var (z, text) = (randn([1, 4, 3, 8, 8]), randn([1, 5, 16]));
        var expected = spatial.call(Axes.FramesToBatch(z), full([3], 400, ScalarType.Int64), text);
        Close.Assert(Axes.BatchToFrames(expected, 3), unet.call(z, full([1], 400, ScalarType.Int64), text), 0);
    }
}
