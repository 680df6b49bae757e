using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>All that the numbers of a run depend on, by name: two runs of one identity give the same weights.</summary>
internal static class RunIdentity
{
    private static readonly JsonSerializerOptions s_form = new() { Converters = { new JsonStringEnumConverter() } };

    public static IReadOnlyDictionary<string, string> Of(TextToVideoModel model, TrainingData data, TrainingSettings settings)
    {
        var identity = new Dictionary<string, string>();
        void Add(object part, params string[] without)
        {
            foreach (var (name, value) in JsonSerializer.SerializeToNode(part, s_form)!.AsObject())
                if (!without.Contains(name))
                    identity[name] = value is null ? "null" : value is JsonValue one && one.TryGetValue(out string? text) ? text : value.ToJsonString();
        }

        // How long a run at a constant rate is, how often it is measured and where it is kept change none of its steps.
        string[] free = [nameof(TrainingSettings.Checkpoints), nameof(TrainingSettings.EvaluateEvery)];
        Add(settings, settings.LearningRateSchedule == LearningRateSchedule.Constant ? [.. free, nameof(TrainingSettings.Steps)] : free);
        Add(model.UNet.Config);
        Add(model.Schedule.Config);
        foreach (var (name, module) in new (string, nn.Module)[]
        {
            ("weights of the text encoder", model.TextEncoder),
            ("weights of the autoencoder", model.Autoencoder),
            ("spatial weights of the U-Net", model.UNet.Spatial),
        })
            identity[name] = Hash(module);
        identity["clips and captions"] = $"{data.Count}, {data.Hash}";
        return identity;
    }

    /// <summary>What differs between two, as parts of a sentence.</summary>
    public static IReadOnlyList<string> Differences(IReadOnlyDictionary<string, string> was, IReadOnlyDictionary<string, string> @is) =>
    [
        .. was.Keys.Union(@is.Keys).Where(name => was.GetValueOrDefault(name) != @is.GetValueOrDefault(name))
            .Select(name => $"{name} was {was.GetValueOrDefault(name) ?? "not there"} and is {@is.GetValueOrDefault(name) ?? "not there"}"),
    ];

    private static string Hash(nn.Module module)
    {
        using var hash = SHA256.Create();
        using (var stream = new CryptoStream(Stream.Null, hash, CryptoStreamMode.Write))
            Safetensors.Write(stream, StateDict.Of(module));
        return Convert.ToHexStringLower(hash.Hash!)[..16];
    }
}
