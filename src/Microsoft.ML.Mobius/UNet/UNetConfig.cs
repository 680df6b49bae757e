using System.Text.Json.Serialization;

namespace Microsoft.ML.Mobius.UNet;

/// <summary>How temporal layers join the spatial ones (method.md, section 1).</summary>
public enum UNetLayout
{
    /// <summary>The usual 3D U-Net: spatial and temporal layers in turn, in one stream. Gradients cross the frozen spatial layers.</summary>
    Serial,

    // LayerParallel (both kinds of layer on the same input, summed) has its place here.

    /// <summary>Mobius: a frozen spatial stream and a trained temporal stream side by side; no gradient crosses a spatial layer. The default.</summary>
    StreamParallel = 2,
}

/// <summary>How the spatial stream enters a layer of the temporal stream; used by <see cref="UNetLayout.StreamParallel"/> alone.</summary>
public enum Lateral
{
    /// <summary>A trained 1x1 convolution per layer that starts as the identity. The default.</summary>
    Convolution,

    /// <summary>The sum itself: no parameters, and nothing of the spatial stream is kept for the backward pass. Needs the full temporal width.</summary>
    Identity,
}

/// <summary>
/// Architecture of a U-Net: diffusers' unet/config.json and, for video, the layout. Level k has <see cref="BlockOutChannels"/>[k] channels.
/// </summary>
internal sealed record UNetConfig
{
    /// <summary>What <see cref="AttentionHeadDim"/> means depends on it: the number of heads in a 2D U-Net, the size of a head in a 3D one.</summary>
    [JsonPropertyName("_class_name")] public string ClassName { get; init; } = "UNet2DConditionModel";
    [JsonPropertyName("sample_size")] public int SampleSize { get; init; } = 32;
    [JsonPropertyName("in_channels")] public int InChannels { get; init; } = 4;
    [JsonPropertyName("out_channels")] public int OutChannels { get; init; } = 4;
    [JsonPropertyName("down_block_types")] public required IReadOnlyList<string> DownBlockTypes { get; init; }
    [JsonPropertyName("up_block_types")] public required IReadOnlyList<string> UpBlockTypes { get; init; }
    [JsonPropertyName("block_out_channels")] public required IReadOnlyList<int> BlockOutChannels { get; init; }
    [JsonPropertyName("layers_per_block")] public int LayersPerBlock { get; init; } = 2;
    [JsonPropertyName("norm_num_groups")] public int NormNumGroups { get; init; } = 32;
    [JsonPropertyName("norm_eps")] public double NormEps { get; init; } = 1e-5;
    [JsonPropertyName("cross_attention_dim")] public int CrossAttentionDim { get; init; } = 1024;
    [JsonPropertyName("attention_head_dim")] public int AttentionHeadDim { get; init; } = 8;

    [JsonPropertyName("mobius_layout")] public UNetLayout Layout { get; init; } = UNetLayout.StreamParallel;

    /// <summary>The temporal stream of StreamParallel has C / this channels at a level of C: 1, 2, 4 or 8.</summary>
    [JsonPropertyName("mobius_temporal_width_divisor")] public int TemporalWidthDivisor { get; init; } = 1;
    [JsonPropertyName("mobius_lateral")] public Lateral Lateral { get; init; } = Lateral.Convolution;

    /// <summary>Whether the second attention of temporal layers is over the text states instead of the frames.</summary>
    [JsonPropertyName("mobius_temporal_text")] public bool TemporalText { get; init; }

    /// <summary>Whether temporal layers are told the place of each frame, which published models learn from the padding of TC alone.</summary>
    [JsonPropertyName("mobius_frame_positions")] public bool FramePositions { get; init; }

    /// <summary>The temporal layers of AnimateDiff in place of the usual ones; Serial alone. The two settings before this are then of no effect.</summary>
    [JsonPropertyName("mobius_motion"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] public MotionConfig? Motion { get; init; }

    [JsonIgnore] public int LevelCount => BlockOutChannels.Count;
    [JsonIgnore] public int TimeChannels => 4 * BlockOutChannels[0];

    public bool HasAttentionDown(int level) => DownBlockTypes[level].StartsWith("CrossAttn", StringComparison.Ordinal);

    public bool HasAttentionUp(int level) => UpBlockTypes[level].StartsWith("CrossAttn", StringComparison.Ordinal);

    /// <summary>Heads of a layer of that many channels.</summary>
    public int Heads(int channels) => ClassName == "UNet2DConditionModel" ? AttentionHeadDim : channels / AttentionHeadDim;

    /// <summary>Channels of the temporal stream beside that many spatial ones.</summary>
    public int TemporalChannels(int channels) => Layout == UNetLayout.StreamParallel ? channels / TemporalWidthDivisor : channels;
}
