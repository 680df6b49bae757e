using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests;

/// <summary>A folder of golden data: configs, weights and tensors made by the reference implementations. Tensors live as long as this does.</summary>
internal sealed class Golden : IDisposable
{
    private readonly List<Tensor> _tensors = [];
    private readonly Lazy<IReadOnlyDictionary<string, Tensor>> _io;

    /// <summary>A folder of the shared golden data.</summary>
    public Golden(string name) : this(new DirectoryInfo(Shared.PathOf("golden", name)))
    {
    }

    public Golden(DirectoryInfo folder)
    {
        Folder = folder.FullName;
        Case = Has("case.json") ? Json("case.json") : null;
        _io = new(() => Tensors("io.safetensors"));
    }

    public string Folder { get; }

    /// <summary>case.json, which names the files of other folders that this one builds on; null where there is none.</summary>
    public JsonNode? Case { get; }

    public IReadOnlyDictionary<string, Tensor> Io => _io.Value;

    /// <summary>The config that case.json names, or the folder's own.</summary>
    public string ConfigFile => Case?["config"]?.GetValue<string>() ?? "config.json";

    /// <summary>The weights that case.json names, or the folder's own.</summary>
    public string WeightsFile => Case?["weights"]?.GetValue<string>() ?? "weights.safetensors";

    public string PathOf(string file) => Path.Combine(Folder, file);

    public bool Has(string file) => File.Exists(PathOf(file));

    /// <summary>Reads a safetensors file, floats as float32.</summary>
    public IReadOnlyDictionary<string, Tensor> Tensors(string file)
    {
        using var stream = File.OpenRead(PathOf(file));
        var tensors = Safetensors.Read(stream, ScalarType.Float32);
        _tensors.AddRange(tensors.Values);
        return tensors;
    }

    public T Config<T>(string file = "config.json") => JsonSerializer.Deserialize<T>(File.ReadAllText(PathOf(file)))!;

    // Python writes infinities, which JSON does not have.
    public JsonNode Json(string file) => JsonNode.Parse(File.ReadAllText(PathOf(file)).Replace(": -Infinity", ": null").Replace(": Infinity", ": null"))!;

    /// <summary>A U-Net over images; all of it trainable.</summary>
    public SpatialStream Image(string config, string weights)
    {
        var unet = new SpatialStream(Config<UNetConfig>(config));
        StateDict.Load(unet, Tensors(weights), weights);
        unet.eval();
        return unet;
    }

    /// <summary>A U-Net over videos, its spatial and temporal layers in one file, of the layout that its names tell; all trainable, or the temporal alone.</summary>
    public VideoUNet Video(string config = "config.json", string weights = "weights.safetensors", bool trainAll = false)
    {
        var tensors = Tensors(weights);
        var settings = Config<UNetConfig>(config) with { Layout = VideoUNet.LayoutOf(tensors.Keys) };
        var unet = VideoUNet.Around(new SpatialStream(settings), settings);
        StateDict.Load(unet.Spatial, tensors.Where(pair => !IsTemporal(pair.Key)).ToDictionary(), weights);
        StateDict.Load(unet.Temporal, tensors.Where(pair => IsTemporal(pair.Key)).ToDictionary(), weights);
        foreach (var parameter in unet.Spatial.parameters())
            parameter.requires_grad = trainAll;
        unet.eval();
        return unet;
    }

    /// <summary>All parameters of the network by diffusers' names.</summary>
    public static Dictionary<string, Tensor> Named(VideoUNet unet) => unet.Spatial.named_parameters().Concat(unet.Temporal.named_parameters())
        .ToDictionary(pair => pair.name, pair => (Tensor)pair.parameter);

    public static bool IsTemporal(string key) => key.Contains("temp_") || key.Contains("transformer_in");

    public void Dispose() => _tensors.ForEach(tensor => tensor.Dispose());
}

/// <summary>Comparisons of tensors.</summary>
internal static class Close
{
    /// <summary>Every element within <paramref name="tolerance"/>.</summary>
    public static void Assert(Tensor expected, Tensor actual, double tolerance, string what = "")
    {
        CollectionAssert.AreEqual(expected.shape, actual.shape, what);
        double apart = Apart(expected, actual);
        Microsoft.VisualStudio.TestTools.UnitTesting.Assert.IsTrue(apart <= tolerance, $"{what}: {apart} apart, {tolerance} allowed.");
    }

    /// <summary>Every element within <paramref name="tolerance"/> of the largest one.</summary>
    public static void AssertRelative(Tensor expected, Tensor actual, double tolerance, string what = "")
        => Assert(expected, actual, tolerance * expected.abs().max().item<float>(), what);

    /// <summary>The largest difference; not a number where either has one that is not.</summary>
    public static double Apart(Tensor a, Tensor b)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        return (a - b).abs().max().to(ScalarType.Float64).item<double>();
    }
}
