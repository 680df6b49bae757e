using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Microsoft.ML.Mobius.UNet;

/// <summary>How temporal layers join the spatial ones (method.md, section 1).</summary>
public enum UNetLayout
{
    /// <summary>The usual 3D U-Net: spatial and temporal layers in turn, in one stream. Gradients cross the frozen spatial layers.</summary>
    Serial,

    /// <summary>
    /// What the authors of Mobius published: a spatial and a temporal layer take the same input and are summed, in one stream. Gradients cross
    /// the frozen spatial layers, and attention levels count their input twice, so that even the untrained start is not the image model.
    /// </summary>
    LayerParallel,

    /// <summary>
    /// Mobius: a frozen spatial stream and a trained temporal stream side by side; no gradient crosses a spatial layer, but in levels where the two are joined. The default.
    /// </summary>
    StreamParallel,
}

/// <summary>How the spatial stream enters a layer of the temporal stream; used by <see cref="UNetLayout.StreamParallel"/> alone.</summary>
public enum Lateral
{
    /// <summary>A trained 1x1 convolution per layer that starts as the identity. The default.</summary>
    Convolution,

    /// <summary>The sum itself: no parameters, and nothing of the spatial stream is kept for the backward pass. Needs the full temporal width.</summary>
    Identity,
}

/// <summary>How the temporal stream goes from level to level; used by <see cref="UNetLayout.StreamParallel"/> alone.</summary>
public enum Resampling
{
    /// <summary>As the spatial one: trained 3x3 convolutions of its own, of stride 2 on the way down, after doubling by nearest neighbours on the way up.</summary>
    Convolution,

    /// <summary>Means of 2x2 positions on the way down, nearest neighbours on the way up: no parameters. The default.</summary>
    Pooling,
}

/// <summary>
/// Architecture of a U-Net: diffusers' unet/config.json and, for video, the layout. Level k has <see cref="BlockOutChannels"/>[k] channels.
/// </summary>
internal sealed record UNetConfig
{
    private const string Class3D = "UNet3DConditionModel";
    private const int MaxWidth = 1 << 16, MaxLayers = 256;

    private static readonly string[] s_downBlocks = ["DownBlock2D", "CrossAttnDownBlock2D", "DownBlock3D", "CrossAttnDownBlock3D"];
    private static readonly string[] s_upBlocks = ["UpBlock2D", "CrossAttnUpBlock2D", "UpBlock3D", "CrossAttnUpBlock3D"];

    /// <summary>Keys of diffusers that change the network, and the values that are built here: those of SD 1.x, SD 2.x and the 3D U-Nets.</summary>
    private static readonly Dictionary<string, string[]> s_built = new()
    {
        ["act_fn"] = ["\"silu\"", "\"swish\""],
        ["addition_embed_type"] = ["null"],
        ["attention_type"] = ["\"default\""],
        ["center_input_sample"] = ["false"],
        ["class_embed_type"] = ["null"],
        ["conv_in_kernel"] = ["3"],
        ["conv_out_kernel"] = ["3"],
        ["cross_attention_norm"] = ["null"],
        ["downsample_padding"] = ["1"],
        ["dual_cross_attention"] = ["false"],
        ["encoder_hid_dim"] = ["null"],
        ["encoder_hid_dim_type"] = ["null"],
        ["flip_sin_to_cos"] = ["true"],
        ["freq_shift"] = ["0"],
        ["mid_block_only_cross_attention"] = ["null", "false"],
        ["mid_block_scale_factor"] = ["1"],
        ["mid_block_type"] = ["\"UNetMidBlock2DCrossAttn\"", "\"UNetMidBlock3DCrossAttn\""],
        ["num_class_embeds"] = ["null"],
        ["only_cross_attention"] = ["false"],
        ["resnet_out_scale_factor"] = ["1"],
        ["resnet_skip_time_act"] = ["false"],
        ["resnet_time_scale_shift"] = ["\"default\""],
        ["time_cond_proj_dim"] = ["null"],
        ["time_embedding_act_fn"] = ["null"],
        ["time_embedding_dim"] = ["null"],
        ["time_embedding_type"] = ["\"positional\""],
        ["timestep_post_act"] = ["null"],
        ["transformer_layers_per_block"] = ["1"],
    };

    /// <summary>The meaning of <see cref="AttentionHeadDim"/> depends on it.</summary>
    [JsonPropertyName("_class_name")] public string ClassName { get; init; } = "UNet2DConditionModel";
    [JsonPropertyName("_diffusers_version"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? DiffusersVersion { get; init; }
    [JsonPropertyName("sample_size")] public int? SampleSize { get; init; } = 32;
    [JsonPropertyName("in_channels")] public int InChannels { get; init; } = 4;
    [JsonPropertyName("out_channels")] public int OutChannels { get; init; } = 4;
    [JsonPropertyName("down_block_types")] public required IReadOnlyList<string> DownBlockTypes { get; init; }
    [JsonPropertyName("up_block_types")] public required IReadOnlyList<string> UpBlockTypes { get; init; }
    [JsonPropertyName("block_out_channels")] public required IReadOnlyList<int> BlockOutChannels { get; init; }
    [JsonPropertyName("layers_per_block")] public int LayersPerBlock { get; init; } = 2;
    [JsonPropertyName("norm_num_groups")] public int NormNumGroups { get; init; } = 32;
    [JsonPropertyName("norm_eps")] public double NormEps { get; init; } = 1e-5;
    [JsonPropertyName("cross_attention_dim")] public int CrossAttentionDim { get; init; } = 1024;

    /// <summary>Heads in a 2D U-Net, the size of a head in a 3D one (https://github.com/huggingface/diffusers/issues/2011).</summary>
    [JsonPropertyName("attention_head_dim")] public PerLevel AttentionHeadDim { get; init; } = 8;

    /// <summary>The number of heads in any U-Net, where it is given.</summary>
    [JsonPropertyName("num_attention_heads")] public PerLevel? NumAttentionHeads { get; init; }

    /// <summary>Whether spatial transformers project by linear layers (SD 2.x) or 1x1 convolutions (SD 1.x); always linear in 3D.</summary>
    [JsonPropertyName("use_linear_projection")] public bool UseLinearProjection { get; init; }

    [JsonPropertyName("mobius_layout")] public UNetLayout Layout { get; init; } = UNetLayout.StreamParallel;

    /// <summary>The temporal stream of StreamParallel has C / this channels at a level of C: 1, 2, 4 or 8.</summary>
    [JsonPropertyName("mobius_temporal_width_divisor")] public int TemporalWidthDivisor { get; init; } = 1;
    [JsonPropertyName("mobius_lateral")] public Lateral Lateral { get; init; } = Lateral.Convolution;
    [JsonPropertyName("mobius_resampling")] public Resampling Resampling { get; init; } = Resampling.Convolution;

    /// <summary>
    /// Of the up levels of StreamParallel the last so many run in one stream, into which u is added before them, as Serial does; 0, the paper's, fuses the streams
    /// after all levels.
    /// </summary>
    [JsonPropertyName("mobius_joined_levels")] public int JoinedLevels { get; init; }

    /// <summary>Whether the spatial layers of joined levels are trained, too: the temporal half has copies of them, and the image model stays as it is.</summary>
    [JsonPropertyName("mobius_train_joined_levels")] public bool TrainJoinedLevels { get; init; }

    /// <summary>Whether the second attention of temporal layers is over the text states instead of the frames.</summary>
    [JsonPropertyName("mobius_temporal_text")] public bool TemporalText { get; init; }

    /// <summary>Whether temporal layers are told the place of each frame, which published models learn from the padding of TC alone.</summary>
    [JsonPropertyName("mobius_frame_positions")] public bool FramePositions { get; init; }

    /// <summary>The temporal layers of AnimateDiff in place of the usual ones; Serial alone. The two settings before this are then of no effect.</summary>
    [JsonPropertyName("mobius_motion"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] public MotionConfig? Motion { get; init; }

    /// <summary>
    /// Channels inside TC and TA for every 32 of the stream, 1 to 32; null for all. Serial alone, without motion modules: the bench cuts its temporal layers so.
    /// </summary>
    [JsonPropertyName("mobius_temporal_inner"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] public int? TemporalInner { get; init; }

    /// <summary>Every other key of the file, kept so that it can be written again.</summary>
    [JsonExtensionData] public Dictionary<string, JsonElement> Other { get; init; } = [];

    [JsonIgnore] public int LevelCount => BlockOutChannels.Count;
    [JsonIgnore] public int TimeChannels => 4 * BlockOutChannels[0];
    [JsonIgnore] public bool HasLinearProjections => UseLinearProjection || ClassName == Class3D;

    /// <summary>
    /// Groups of the norms in TC and T_in: those of every norm; but 32 in the authors' code and in diffusers before 0.25, whatever the config
    /// says.
    /// </summary>
    [JsonIgnore] public int TemporalNormGroups => ClassName == Class3D && IsBefore(0, 25) ? 32 : NormNumGroups;

    public bool HasAttentionDown(int level) => DownBlockTypes[level].StartsWith("CrossAttn", StringComparison.Ordinal);

    public bool HasAttentionUp(int level) => UpBlockTypes[level].StartsWith("CrossAttn", StringComparison.Ordinal);

    /// <summary>Heads of a level's attention layers.</summary>
    public int Heads(int level) => NumAttentionHeads?[level]
        ?? (ClassName == Class3D ? BlockOutChannels[level] / AttentionHeadDim[level] : AttentionHeadDim[level]);

    /// <summary>Channels of the temporal stream beside that many spatial ones.</summary>
    public int TemporalChannels(int channels) => Layout == UNetLayout.StreamParallel ? channels / TemporalWidthDivisor : channels;

    /// <summary>Whether the two streams become one before the end.</summary>
    [JsonIgnore] public bool JoinsStreams => Layout == UNetLayout.StreamParallel && JoinedLevels > 0;

    /// <summary>Whether levels are joined whose spatial layers are trained.</summary>
    [JsonIgnore] public bool TrainsSpace => JoinsStreams && TrainJoinedLevels;

    /// <summary>That many channels as they are inside TC.</summary>
    public int Inner(int channels) => TemporalInner is { } of32 ? Math.Max(1, channels * of32 / 32) : channels;

    /// <summary>That many channels as they are inside TA: a whole number for each head.</summary>
    public int InnerAttention(int channels, int heads) => TemporalInner is null ? channels : heads * Inner(channels / heads);

    /// <summary>Refuses what cannot be built, with the key, what it is and what it may be.</summary>
    /// <exception cref="ArgumentException">Something cannot.</exception>
    public void Validate()
    {
        foreach (var (key, value) in new (string, object?)[]
        {
            ("down_block_types", DownBlockTypes), ("up_block_types", UpBlockTypes), ("block_out_channels", BlockOutChannels),
            ("attention_head_dim", NumAttentionHeads ?? AttentionHeadDim),
        })
            if (value is null)
                throw new ArgumentException($"{key} is null.");
        int levels = BlockOutChannels.Count;
        if (levels == 0 || DownBlockTypes.Count != levels || UpBlockTypes.Count != levels)
            throw new ArgumentException($"The U-Net has {levels} block_out_channels, {DownBlockTypes.Count} down_block_types "
                + $"and {UpBlockTypes.Count} up_block_types; the three must be equally many, and at least one.");
        CheckKinds("down_block_types", DownBlockTypes, s_downBlocks);
        CheckKinds("up_block_types", UpBlockTypes, s_upBlocks);
        Within("in_channels", InChannels, MaxWidth);
        Within("out_channels", OutChannels, MaxWidth);
        Within("layers_per_block", LayersPerBlock, MaxLayers);
        Within("norm_num_groups", NormNumGroups, MaxWidth);
        Within("cross_attention_dim", CrossAttentionDim, MaxWidth);
        if (!(NormEps > 0 && double.IsFinite(NormEps)))
            throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"norm_eps is {NormEps}; expected a number above 0."));
        CheckPerLevel("attention_head_dim", AttentionHeadDim);
        CheckPerLevel("num_attention_heads", NumAttentionHeads);
        if (!Enum.IsDefined(Layout))
            throw new ArgumentException($"mobius_layout is {Layout}; known are {string.Join(", ", Enum.GetNames<UNetLayout>())}.");
        if (TemporalWidthDivisor is not (1 or 2 or 4 or 8))
            throw new ArgumentException($"mobius_temporal_width_divisor is {TemporalWidthDivisor}; 1, 2, 4 and 8 are possible.");
        if (!Enum.IsDefined(Resampling))
            throw new ArgumentException($"mobius_resampling is {Resampling}; known are {string.Join(", ", Enum.GetNames<Resampling>())}.");
        if (JoinedLevels < 0 || JoinedLevels > levels)
            throw new ArgumentException($"mobius_joined_levels is {JoinedLevels}; the U-Net has {levels} up levels, so 0 to {levels} are possible.");
        if (TemporalInner is { } of32 && (of32 is < 1 or > 32 || Layout != UNetLayout.Serial || Motion is not null))
            throw new ArgumentException($"mobius_temporal_inner is {of32}; expected 1 to 32, and the Serial layout without motion modules.");
        for (int k = 0; k < levels; k++)
        {
            int channels = BlockOutChannels[k];
            Within($"block_out_channels[{k}]", channels, MaxWidth);
            if (channels % NormNumGroups != 0)
                throw new ArgumentException(
                    $"block_out_channels[{k}] is {channels}, which norm_num_groups {NormNumGroups} does not divide.");
            if (Heads(k) == 0 || channels % Heads(k) != 0 || (NumAttentionHeads is null && channels % AttentionHeadDim[k] != 0))
                throw new ArgumentException($"{(NumAttentionHeads is null ? "attention_head_dim" : "num_attention_heads")} of level {k} is "
                    + $"{(NumAttentionHeads ?? AttentionHeadDim)[k]}, which does not divide its {channels} channels.");
        }
        foreach (var (key, value) in Other)
            if (s_built.TryGetValue(key, out var built) && !IsOneOf(value, built))
                throw new ArgumentException($"{key} is {Shortened(value)}; only {string.Join(" and ", built)} can be built.");
    }

    private void CheckPerLevel(string key, PerLevel? numbers)
    {
        if (numbers is { IsList: true } && numbers.Values.Count != LevelCount)
            throw new ArgumentException($"{key} is a list of {numbers.Values.Count}, but the U-Net has {LevelCount} levels.");
        for (int i = 0; i < (numbers?.Values.Count ?? 0); i++)
            Within(numbers!.IsList ? $"{key}[{i}]" : key, numbers.Values[i], MaxWidth);
    }

    private static void CheckKinds(string key, IReadOnlyList<string> kinds, string[] known)
    {
        for (int i = 0; i < kinds.Count; i++)
            if (!known.Contains(kinds[i]))
                throw new ArgumentException($"{key}[{i}] is '{kinds[i]}'; known are {string.Join(", ", known)}.");
    }

    private static void Within(string key, int value, int most)
    {
        if (value < 1 || value > most)
            throw new ArgumentException($"{key} is {value}; expected 1 to {most}.");
    }

    /// <summary>A list is such a value if all it holds are: diffusers writes some keys either way.</summary>
    private static bool IsOneOf(JsonElement value, string[] expected) => value.ValueKind switch
    {
        JsonValueKind.Array => value.EnumerateArray().All(item => IsOneOf(item, expected)),
        JsonValueKind.Number => expected.Any(text => double.TryParse(text, CultureInfo.InvariantCulture, out double number)
            && number == value.GetDouble()),
        _ => expected.Contains(value.GetRawText()),
    };

    private static string Shortened(JsonElement value)
        => value.GetRawText() is var text && text.Length > 60 ? text[..60] + "..." : text;

    private bool IsBefore(int major, int minor)
        => DiffusersVersion?.Split('.') is [var first, var second, ..] && int.TryParse(first, out int a) && int.TryParse(second, out int b)
            && (a, b).CompareTo((major, minor)) < 0;
}
