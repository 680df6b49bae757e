using System.Text.RegularExpressions;
using Microsoft.ML.Mobius.UNet;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.GoldenCases;

/// <summary>Outputs of a U-Net at several times, and the gradients of a loss.</summary>
internal abstract partial class UNetKind(string modelClass) : GoldenKind
{
    /// <summary>A loaded network: its call (z, t, text) and its parameters by the names of the file.</summary>
    protected sealed record Network(nn.Module<Tensor, Tensor, Tensor, Tensor> Module, IReadOnlyDictionary<string, Tensor> Parameters) : IDisposable
    {
        public Tensor Call(Tensor z, Tensor t, Tensor text) => Module.call(z, t, text);

        public void Dispose() => Module.Dispose();
    }

    public override bool Fits(Golden golden) => golden.Has("io.safetensors") && golden.Has(golden.ConfigFile)
        && golden.Case?["lora"] is null && golden.Case?["scheduler"] is null
        && golden.Json(golden.ConfigFile)["_class_name"]?.GetValue<string>() == modelClass;

    protected abstract Network Open(Golden golden);

    public override void Check(Golden golden, Tolerances tolerances, Findings findings)
    {
        using var network = Open(golden);
        double outputs = tolerances.Of(2e-4, "outputs max abs", "outputs"), gradients = tolerances.Of(1e-3, "gradients max abs", "gradients rel");
        double norms = tolerances.Of(gradients, "norms rel"), loss = tolerances.Of(1e-5, "loss rel");
        using (no_grad())
            foreach (var (key, expected) in golden.Io.Where(pair => pair.Key.StartsWith("out_", StringComparison.Ordinal)))
            {
                using var scope = NewDisposeScope();
                findings.Within(key, expected, Output(network, golden.Io, key), outputs);
            }
        CheckGradients(network, golden, findings, loss, gradients, norms);
    }

    private static Tensor Output(Network network, IReadOnlyDictionary<string, Tensor> io, string key)
    {
        var sample = key.Contains("_odd_", StringComparison.Ordinal) ? io["sample_odd"] : io["sample"];
        if (key.Contains("_single_frame_", StringComparison.Ordinal))
            sample = sample[.., .., ..1];
        long batch = sample.shape[0];
        var t = key == "out_tvec" ? io["timestep_vec"] : full([batch], long.Parse(Time().Match(key).Groups[1].Value), ScalarType.Int64);
        var text = io["encoder_hidden_states"][..(int)batch];
        if (!key.Contains("_masked_", StringComparison.Ordinal))
            return network.Call(sample, t, text);

        // A masked token has no weight: the same as if it were not there.
        var mask = io["encoder_attention_mask"];
        return cat([.. Enumerable.Range(0, (int)batch).Select(i => network.Call(sample[i..(i + 1)], t[i..(i + 1)], text[i][mask[i] > 0].unsqueeze(0)))]);
    }

    private static void CheckGradients(Network network, Golden golden, Findings findings, double lossTolerance, double tolerance, double normTolerance)
    {
        using var scope = NewDisposeScope();
        var (io, parameters) = (golden.Io, network.Parameters);
        var (sample, text) = (io["sample"].clone().requires_grad_(), io["encoder_hidden_states"].clone().requires_grad_());
        var loss = nn.functional.mse_loss(network.Call(sample, io["timestep_vec"], text), io["target"]);
        loss.backward();
        findings.Within("loss_tvec", io["loss_tvec"].item<float>(), loss.item<float>(), lossTolerance);

        var file = golden.Json("grad_norms.json").AsObject();
        var norms = (file["norms"]?.AsObject() ?? file).ToDictionary(pair => pair.Key, pair => pair.Value!.GetValue<double>());
        double largest = norms.Values.Max();
        var zero = ZeroGradients.Of(golden, norms);
        findings.Holds($"{parameters.Count} parameters instead of {norms.Count}", parameters.Count == norms.Count);
        foreach (var (key, expected) in io.Where(pair => pair.Key.StartsWith("grad.", StringComparison.Ordinal)))
            if (key["grad.".Length..] is var name && !zero.Contains(name))
            {
                var of = name switch { "sample" => sample, "encoder_hidden_states" => text, _ => parameters[name] };
                findings.WithinOfLargest(key, expected, of.grad!, tolerance);
            }
        foreach (var (name, norm) in norms)
        {
            double actual = parameters[name].grad!.norm().item<float>();
            if (zero.Contains(name))
                findings.Holds($"the gradient of {name} should be zero but is {actual}", actual <= 1e-6 * Math.Max(1, largest));
            else
                findings.Within($"the norm of the gradient of {name}", norm, actual, normTolerance);
        }
        foreach (var parameter in parameters.Values)
            parameter.grad = null;
    }

    [GeneratedRegex(@"_t(\d+)$")]
    private static partial Regex Time();
}

/// <summary>Names of parameters whose gradient is zero but for rounding: biases that a norm of one channel per group takes away.</summary>
internal static class ZeroGradients
{
    public static HashSet<string> Of(Golden golden, IReadOnlyDictionary<string, double> norms)
    {
        string beside = Path.Combine(Path.GetDirectoryName(golden.WeightsFile)!, "zero_gradient_params.json");
        var named = (golden.Has("grad_norms.json") ? golden.Json("grad_norms.json")["noise_level"] : null)
            ?? (golden.Has(beside) ? golden.Json(beside) : null);
        return named is not null ? [.. named.AsArray().Select(node => node!.GetValue<string>())]
            : [.. norms.Where(pair => pair.Value < 1e-6 * norms.Values.Max()).Select(pair => pair.Key)];
    }
}

internal sealed class ImageUNetKind() : UNetKind("UNet2DConditionModel")
{
    protected override Network Open(Golden golden)
    {
        var unet = golden.Image(golden.ConfigFile, golden.WeightsFile);
        return new Network(unet, unet.named_parameters().ToDictionary(pair => pair.name, pair => (Tensor)pair.parameter));
    }
}

/// <summary>The 3D U-Net of diffusers and the two networks of the authors of Mobius.</summary>
internal sealed class VideoUNetKind() : UNetKind("UNet3DConditionModel")
{
    protected override Network Open(Golden golden)
    {
        var unet = golden.Video(golden.ConfigFile, golden.WeightsFile, trainAll: true);
        return new Network(unet, Golden.Named(unet));
    }
}
