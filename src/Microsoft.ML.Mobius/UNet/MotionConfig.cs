using System.Text.Json.Serialization;

namespace Microsoft.ML.Mobius.UNet;

/// <summary>
/// AnimateDiff's motion modules (Guo et al. 2023, arXiv 2307.04725) as the temporal half of a Serial U-Net: a temporal transformer after every
/// layer, with attention or not, and neither T_in nor temporal convolutions. diffusers' config.json of a MotionAdapter.
/// </summary>
internal sealed record MotionConfig
{
    [JsonPropertyName("motion_num_attention_heads")] public int Heads { get; init; } = 8;
    [JsonPropertyName("motion_norm_num_groups")] public int NormNumGroups { get; init; } = 32;

    /// <summary>Most frames of a clip.</summary>
    [JsonPropertyName("motion_max_seq_length")] public int FrameLimit { get; init; } = 32;

    /// <summary>Whether the middle block has one, too (version 2).</summary>
    [JsonPropertyName("use_motion_mid_block")] public bool Middle { get; init; } = true;
}
