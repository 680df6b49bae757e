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

    /// <summary>"linear", "scaled_linear": linear in the square root, or "squaredcos_cap_v2": √ᾱ a cosine.</summary>
    [JsonPropertyName("beta_schedule")] public string BetaSchedule { get; init; } = "scaled_linear";
    [JsonPropertyName("prediction_type")] public string PredictionType { get; init; } = "epsilon";
    [JsonPropertyName("clip_sample")] public bool ClipSample { get; init; }
    [JsonPropertyName("set_alpha_to_one")] public bool SetAlphaToOne { get; init; }
    [JsonPropertyName("steps_offset")] public int StepsOffset { get; init; } = 1;

    /// <summary>Whether the betas are made such that ᾱ of the last step is 0 (Lin et al. 2023, arXiv 2305.08891, algorithm 1); null means no.</summary>
    [JsonPropertyName("rescale_betas_zero_snr"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public bool? RescaleBetasZeroSnr { get; init; }

    /// <summary>
    /// How much the noise of any two frames of a clip is correlated, 0 up to but not including 1; null means not at all. A key of ours, which others
    /// pass over.
    /// </summary>
    [JsonPropertyName("frame_correlation"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public double? FrameCorrelation { get; init; }

    /// <summary>Every other key of the file, kept so that it can be written again; samplers read theirs by <see cref="Setting{T}"/>.</summary>
    [JsonExtensionData] public Dictionary<string, JsonElement> Other { get; init; } = [];

    /// <summary>Largest size of a predicted z_0; null for any.</summary>
    [JsonIgnore] public double? ClipRange => ClipSample ? Setting("clip_sample_range", 1.0) : null;

    [JsonIgnore] public bool KarrasSigmas => Setting("use_karras_sigmas", false);

    /// <summary>Predictions that a step of a multistep solver uses, 1 to 3.</summary>
    [JsonIgnore]
    public int SolverOrder => Setting("solver_order", 2) is >= 1 and <= 3 and var order ? order
        : throw new NotSupportedException($"solver_order {Setting("solver_order", 2)} is not supported; 1 to 3 are.");

    /// <param name="usual">What a file without timestep_spacing means.</param>
    /// <exception cref="NotSupportedException">It is another.</exception>
    public TimestepSpacing Spacing(TimestepSpacing usual)
        => Enum.Parse<TimestepSpacing>(
            OneOf("timestep_spacing", [Name(usual), .. Enum.GetValues<TimestepSpacing>().Select(Name)]), ignoreCase: true);

    /// <summary>The text under one of the other keys; the first known one if it is not there or null.</summary>
    /// <exception cref="NotSupportedException">It is none of the known ones.</exception>
    public string OneOf(string key, params string[] known) => Setting(key, known[0]) is var found && known.Contains(found) ? found
        : throw new NotSupportedException($"{key} '{found}' is not supported; {string.Join(", ", known.Distinct().Select(name => $"'{name}'"))} are.");

    /// <summary>The value under one of the other keys.</summary>
    /// <param name="key">Its name in the file.</param>
    /// <param name="usual">What it is if it is not there or null.</param>
    /// <exception cref="InvalidDataException">It is of another type.</exception>
    public T Setting<T>(string key, T usual)
    {
        if (!Other.TryGetValue(key, out var found) || found.ValueKind == JsonValueKind.Null)
            return usual;
        try
        {
            return found.Deserialize<T>()!;
        }
        catch (JsonException e)
        {
            throw new InvalidDataException(
                $"scheduler_config.json: {key} is {found.GetRawText()}; a value like {JsonSerializer.Serialize(usual)} is expected.", e);
        }
    }

    private static string Name(TimestepSpacing spacing) => spacing.ToString().ToLowerInvariant();
}
