using System.Text.Json;
using System.Text.Json.Serialization;

namespace Microsoft.ML.Mobius.Autoencoder;

/// <summary>Architecture of an <see cref="AutoencoderKl"/>: diffusers' vae/config.json.</summary>
internal sealed record AutoencoderKlConfig
{
    [JsonPropertyName("in_channels")] public int InChannels { get; init; } = 3;
    [JsonPropertyName("out_channels")] public int OutChannels { get; init; } = 3;
    [JsonPropertyName("latent_channels")] public int LatentChannels { get; init; } = 4;
    [JsonPropertyName("block_out_channels")] public required IReadOnlyList<int> BlockOutChannels { get; init; }
    [JsonPropertyName("layers_per_block")] public int LayersPerBlock { get; init; } = 1;
    [JsonPropertyName("norm_num_groups")] public int NormNumGroups { get; init; } = 32;

    /// <summary>Latents are multiplied by this so that they have about unit variance.</summary>
    [JsonPropertyName("scaling_factor")] public double ScalingFactor { get; init; } = 0.18215;

    /// <summary>Every other key of the file, kept so that it can be written again.</summary>
    [JsonExtensionData] public Dictionary<string, JsonElement> Other { get; init; } = [];

    /// <summary>Pixels per latent along each side: a halving between every two levels.</summary>
    [JsonIgnore] public int Factor => 1 << (BlockOutChannels.Count - 1);
}
