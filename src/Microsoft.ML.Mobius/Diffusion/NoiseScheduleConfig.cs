using System.Text.Json;
using System.Text.Json.Serialization;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>The noise schedule of a model: diffusers' scheduler_config.json. It travels with the weights; a wrong one gives grey blur.</summary>
internal sealed record NoiseScheduleConfig
{
    [JsonPropertyName("_class_name")] public string ClassName { get; init; } = "DDIMScheduler";
    [JsonPropertyName("num_train_timesteps")] public int TrainTimesteps { get; init; } = 1000;
    [JsonPropertyName("beta_start")] public double BetaStart { get; init; } = 0.00085;
    [JsonPropertyName("beta_end")] public double BetaEnd { get; init; } = 0.012;

    /// <summary>"linear", or "scaled_linear": linear in the square root.</summary>
    [JsonPropertyName("beta_schedule")] public string BetaSchedule { get; init; } = "scaled_linear";
    [JsonPropertyName("prediction_type")] public string PredictionType { get; init; } = "epsilon";
    [JsonPropertyName("clip_sample")] public bool ClipSample { get; init; }
    [JsonPropertyName("set_alpha_to_one")] public bool SetAlphaToOne { get; init; }
    [JsonPropertyName("steps_offset")] public int StepsOffset { get; init; } = 1;

    /// <summary>Every other key of the file, kept so that it can be written again.</summary>
    [JsonExtensionData] public Dictionary<string, JsonElement> Other { get; init; } = [];
}
