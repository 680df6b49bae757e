using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Microsoft.ML.Mobius.Distributed;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Torch;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>All that the numbers of a run depend on, by name: two runs of one identity give the same weights.</summary>
internal static class RunIdentity
{
    private static readonly JsonSerializerOptions s_form = new() { Converters = { new JsonStringEnumConverter() } };

    /// <param name="model">Before its first step.</param>
    /// <param name="data">What it is trained on.</param>
    /// <param name="settings">How.</param>
    public static IReadOnlyDictionary<string, string> Of(TextToVideoModel model, TrainingData data, TrainingSettings settings)
    {
        var identity = new Dictionary<string, string>();
        void Add(string prefix, object part, params string[] without)
        {
            foreach (var (name, value) in JsonSerializer.SerializeToNode(part, s_form)!.AsObject())
                if (!without.Contains(name))
                    identity.Add(prefix + name, value is JsonValue one && one.TryGetValue(out string? text) ? text : value?.ToJsonString() ?? "null");
        }

        // How long a run at a constant rate is, how it is watched and where it is kept change none of its steps.
        string[] free =
        [
            nameof(TrainingSettings.Checkpoints), nameof(TrainingSettings.EvaluateEvery), nameof(TrainingSettings.EarlyStopping),
            nameof(TrainingSettings.NonFiniteStep), nameof(TrainingSettings.TensorBoardFolder), nameof(TrainingSettings.KeptDepth), nameof(TrainingSettings.ReturnUnusedMemory),
        ];
        Add("", settings, settings.LearningRateSchedule == LearningRateSchedule.Constant ? [.. free, nameof(TrainingSettings.Steps)] : free);
        if (Tf32.Rounds(model.Device.type))
            identity.Add("AllowTf32", "True");
        Add("the U-Net's ", model.UNet.Config);
        Add("the noise schedule's ", model.Schedule.Config);
        foreach (var (name, module) in new (string, nn.Module)[]
        {
            ("weights of the text encoder", model.TextEncoder),
            ("weights of the autoencoder", model.Autoencoder),
            ("spatial weights of the U-Net", model.UNet.Spatial),
            ("first temporal weights of the U-Net", model.UNet.Temporal),
        })
            identity.Add(name, Hash(module));
        identity.Add("clips and captions", $"{data.Count}, {data.Hash}");
        return identity;
    }

    /// <summary>What differs between two, as parts of a sentence.</summary>
    public static IReadOnlyList<string> Differences(IReadOnlyDictionary<string, string> was, IReadOnlyDictionary<string, string> @is) =>
    [
        .. was.Keys.Union(@is.Keys).Where(name => was.GetValueOrDefault(name) != @is.GetValueOrDefault(name))
            .Select(name => $"{name} was {was.GetValueOrDefault(name) ?? "not there"} and is {@is.GetValueOrDefault(name) ?? "not there"}"),
    ];

    /// <summary>What differs between this rank and rank 0; null if nothing does.</summary>
    /// <param name="group">All of it must ask.</param>
    /// <param name="here">What must be the same on all ranks.</param>
    public static string? Disagreement(ProcessGroup group, IReadOnlyDictionary<string, string> here)
    {
        var first = JsonSerializer.Deserialize<Dictionary<string, string>>(group.Broadcast(JsonSerializer.Serialize(here)))!;
        string[] differences = [.. first.Keys.Union(here.Keys).Where(name => first.GetValueOrDefault(name) != here.GetValueOrDefault(name))
            .Select(name => $"{name} is {here.GetValueOrDefault(name) ?? "not there"} here and {first.GetValueOrDefault(name) ?? "not there"} on rank 0")];
        return differences.Length == 0 ? null : $"All ranks must train the same: {string.Join("; ", differences)}.";
    }

    /// <summary>Tells a module's weights from others.</summary>
    public static string Hash(nn.Module module)
    {
        using var hash = SHA256.Create();
        using (var stream = new CryptoStream(Stream.Null, hash, CryptoStreamMode.Write))
            Safetensors.Write(stream, StateDict.Of(module));
        return Convert.ToHexStringLower(hash.Hash!)[..16];
    }
}
