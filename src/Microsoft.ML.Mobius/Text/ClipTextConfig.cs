using System.Text.Json;
using System.Text.Json.Serialization;

namespace Microsoft.ML.Mobius.Text;

/// <summary>The architecture of a CLIP text encoder, with the JSON names and the defaults of transformers' CLIPTextConfig.</summary>
internal sealed record ClipTextConfig
{
    private static readonly JsonSerializerOptions Options = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        NumberHandling = JsonNumberHandling.Strict,
        WriteIndented = true,
    };

    public int VocabSize { get; init; } = 49408;

    public int HiddenSize { get; init; } = 512;

    public int IntermediateSize { get; init; } = 2048;

    public int NumHiddenLayers { get; init; } = 12;

    public int NumAttentionHeads { get; init; } = 8;

    public int MaxPositionEmbeddings { get; init; } = 77;

    /// <summary><c>quick_gelu</c> (Stable Diffusion 1) or <c>gelu</c> (OpenCLIP's encoders).</summary>
    public string HiddenAct { get; init; } = "quick_gelu";

    public double LayerNormEps { get; init; } = 1e-5;

    public int? PadTokenId { get; init; } = 1;

    public int? BosTokenId { get; init; } = 49406;

    /// <summary>Of use to the pooled output only, which diffusion models do not read; many published files say 2 here.</summary>
    public int? EosTokenId { get; init; } = 49407;

    /// <summary>Every other key of the file, kept so that it can be written again.</summary>
    [JsonExtensionData]
    public Dictionary<string, JsonElement> Other { get; init; } = [];

    /// <summary>Reads and checks a config.json.</summary>
    /// <exception cref="InvalidDataException">The JSON is not correct, or a value is one that no CLIP text encoder can have.</exception>
    public static ClipTextConfig Parse(string json, string what = "text_encoder/config.json")
    {
        try
        {
            var config = JsonSerializer.Deserialize<ClipTextConfig>(json, Options)
                ?? throw new JsonException("An object is expected, found null.");
            config.Validate();
            return config;
        }
        catch (Exception e) when (e is JsonException or ArgumentException)
        {
            throw new InvalidDataException($"{what}: {e.Message}", e);
        }
    }

    public string ToJson() => JsonSerializer.Serialize(this, Options);

    /// <exception cref="ArgumentException">A value is one that no CLIP text encoder can have.</exception>
    public void Validate()
    {
        Positive(VocabSize, "vocab_size");
        Positive(HiddenSize, "hidden_size");
        Positive(IntermediateSize, "intermediate_size");
        Positive(NumHiddenLayers, "num_hidden_layers");
        Positive(NumAttentionHeads, "num_attention_heads");
        Positive(MaxPositionEmbeddings, "max_position_embeddings");
        if (HiddenSize % NumAttentionHeads != 0)
            throw new ArgumentException($"hidden_size {HiddenSize} is no multiple of num_attention_heads {NumAttentionHeads}.");
        if (HiddenAct is not ("quick_gelu" or "gelu"))
            throw new ArgumentException($"hidden_act is '{HiddenAct}'; expected quick_gelu or gelu.");
        if (!(LayerNormEps > 0))
            throw new ArgumentException($"layer_norm_eps is {LayerNormEps}; expected a number above 0.");
    }

    /// <summary>Parameters of such an encoder.</summary>
    public long ParameterCount() => (VocabSize + MaxPositionEmbeddings) * (long)HiddenSize + Layers.ParameterCount.Norm(HiddenSize)
        + NumHiddenLayers * (2 * Layers.ParameterCount.Norm(HiddenSize) + 4 * Layers.ParameterCount.Linear(HiddenSize, HiddenSize)
            + Layers.ParameterCount.Linear(HiddenSize, IntermediateSize) + Layers.ParameterCount.Linear(IntermediateSize, HiddenSize));

    private static void Positive(int value, string name)
    {
        if (value < 1)
            throw new ArgumentException($"{name} is {value}; expected at least 1.");
    }
}
