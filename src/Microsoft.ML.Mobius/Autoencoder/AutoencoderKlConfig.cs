using System.Text.Json;
using System.Text.Json.Serialization;
using Count = Microsoft.ML.Mobius.Layers.ParameterCount;

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

    /// <summary>The most values at once while an image of that size is decoded, so many rows at a time; 0 for all.</summary>
    public long DecodedValues(long height, long width, int rows)
    {
        long peak = 0;
        for (int k = 0; k < BlockOutChannels.Count; k++)
        {
            long inner = BlockOutChannels[Math.Min(k + 1, BlockOutChannels.Count - 1)], own = BlockOutChannels[k], pixels = (height >> k) * (width >> k);
            double strip = rows == 0 ? 1 : Math.Min(1, (rows + 2.0) / (height >> k));
            // A resnet: its input, its first half, and norm, SiLU and convolution of a strip; a doubling: what it is given, what it gives, and between them as much as that.
            double resnet = rows == 0 ? 3 * inner + 2 * Math.Max(own, inner / 2.0) : inner + 2 * own + 3 * strip * inner, doubling = k == 0 ? 0 : own + (4 + 4 * strip) * own;
            peak = Math.Max(peak, (long)(pixels * Math.Max(resnet, doubling)));
        }
        return peak;
    }

    /// <summary>The most values at once while an image of that size is encoded.</summary>
    public long EncodedValues(long height, long width) => BlockOutChannels.Select((own, k) =>
        (height >> k) * (width >> k) * (3L * BlockOutChannels[Math.Max(k - 1, 0)] + 2L * own)).Max();

    /// <summary>Parameters of such an autoencoder.</summary>
    public long ParameterCount()
    {
        int first = BlockOutChannels[0], last = BlockOutChannels[^1];
        long count = Count.Convolution(InChannels, first, 9) + Count.Norm(last) + Count.Convolution(last, 2 * LatentChannels, 9)
            + Count.Convolution(2 * LatentChannels, 2 * LatentChannels, 1) + Count.Convolution(LatentChannels, LatentChannels, 1)
            + Count.Convolution(LatentChannels, last, 9) + Count.Norm(first) + Count.Convolution(first, OutChannels, 9)
            + 2 * (2 * Count.Resnet(last, last, null) + Count.Norm(last) + 4 * Count.Linear(last, last));
        for (int k = 0; k < BlockOutChannels.Count; k++)
        {
            int width = BlockOutChannels[k], outer = BlockOutChannels[Math.Max(k - 1, 0)], inner = BlockOutChannels[Math.Min(k + 1, BlockOutChannels.Count - 1)];
            count += Count.Resnet(outer, width, null) + (LayersPerBlock - 1) * Count.Resnet(width, width, null)       // the encoder's
                + Count.Resnet(inner, width, null) + LayersPerBlock * Count.Resnet(width, width, null)                // the decoder's
                + (k < BlockOutChannels.Count - 1 ? Count.Convolution(width, width, 9) : 0)                           // halving
                + (k > 0 ? Count.Convolution(width, width, 9) : 0);                                                   // doubling
        }
        return count;
    }
}
