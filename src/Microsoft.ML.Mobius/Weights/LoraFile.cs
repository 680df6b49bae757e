using System.Text.Json;
using System.Text.RegularExpressions;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Weights;

/// <summary>A pair of thin matrices that changes one layer's weight W to W + scale · alpha / rank · up down.</summary>
/// <param name="Network">"unet", "text_encoder", another one that the file names, or null where it names none.</param>
/// <param name="Layer">The layer's name; its dots are underscores where <paramref name="Underscored"/>.</param>
/// <param name="Underscored">kohya's way, in which a dot and an underscore of a name look alike.</param>
/// <param name="Down">[rank, in], for a convolution [rank, in, ...kernel].</param>
/// <param name="Up">[out, rank], for a convolution [out, rank, 1, ...].</param>
/// <param name="Alpha">The rank itself where the file says nothing.</param>
/// <param name="Keys">Its keys in the file.</param>
internal sealed record LoraPair(string? Network, string Layer, bool Underscored, Tensor Down, Tensor Up, double Alpha, IReadOnlyList<string> Keys)
{
    public long Rank => Down.shape[0];
}

/// <summary>
/// A LoRA (Hu et al. 2021, arXiv 2106.09685) as it is stored. Read are the keys of diffusers (.lora.down, .lora_linear_layer.down, and before 0.22
/// .processor.to_q_lora.down), peft (.lora_A) and kohya (lora_unet_..., lora_te_..., .alpha), with and without the network's name in front.
/// </summary>
internal sealed partial class LoraFile : IDisposable
{
    private static readonly string[] FolderFiles =
        ["pytorch_lora_weights.safetensors", "adapter_model.safetensors", "pytorch_lora_weights.bin", "adapter_model.bin"];

    private static readonly (string Prefix, string Network, bool Underscored)[] Prefixes =
    [
        ("unet.", "unet", false), ("text_encoder.", "text_encoder", false), ("text_encoder_2.", "text_encoder_2", false),
        ("lora_unet_", "unet", true), ("lora_te_", "text_encoder", true), ("lora_te1_", "text_encoder", true), ("lora_te2_", "text_encoder_2", true),
    ];

    private readonly IReadOnlyCollection<Tensor> _tensors;

    private LoraFile(string name, IReadOnlyCollection<Tensor> tensors, IReadOnlyList<LoraPair> pairs, IReadOnlyList<string> otherKeys)
        => (Name, _tensors, Pairs, OtherKeys) = (name, tensors, pairs, otherKeys);

    /// <summary>The file's name, for messages.</summary>
    public string Name { get; }

    public IReadOnlyList<LoraPair> Pairs { get; }

    /// <summary>Keys that belong to no pair.</summary>
    public IReadOnlyList<string> OtherKeys { get; }

    /// <summary>Reads a file into the CPU's memory, as float32.</summary>
    /// <param name="path">The file, or a folder as diffusers or peft writes it.</param>
    /// <exception cref="FileNotFoundException">There is no such file, or none of the known names in the folder.</exception>
    /// <exception cref="InvalidDataException">The file is damaged, or changes weights by another rule than LoRA's.</exception>
    public static LoraFile Read(string path)
    {
        string file = Directory.Exists(path)
            ? FolderFiles.Select(name => Path.Combine(path, name)).FirstOrDefault(File.Exists)
                ?? throw new FileNotFoundException($"The folder '{path}' has no LoRA: expected one of {string.Join(", ", FolderFiles)}.")
            : path;
        string beside = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(file))!, "adapter_config.json");
        string? config = Path.GetFileName(file).StartsWith("adapter_model.", StringComparison.Ordinal) && File.Exists(beside) ? File.ReadAllText(beside) : null;

        using var weights = WeightFile.Open(file);
        var tensors = new OrderedDictionary<string, Tensor>();
        try
        {
            foreach (string name in weights.Entries.Keys)
                tensors.Add(name, weights.Read(name, ScalarType.Float32));
            return Of(weights.Name, tensors, config ?? weights.Metadata.GetValueOrDefault("lora_adapter_metadata"));
        }
        catch
        {
            foreach (var tensor in tensors.Values)
                tensor.Dispose();
            throw;
        }
    }

    /// <summary>Sorts tensors into pairs.</summary>
    /// <param name="name">For messages.</param>
    /// <param name="tensors">Floats by key; owned by the result.</param>
    /// <param name="config">peft's configuration in JSON, which says the alpha of pairs that have none of their own; or null.</param>
    /// <exception cref="InvalidDataException">A pair is incomplete or impossible, or the weights follow another rule than LoRA's.</exception>
    public static LoraFile Of(string name, IReadOnlyDictionary<string, Tensor> tensors, string? config = null)
    {
        string[] otherRules = [.. tensors.Keys.Where(key => OtherRule().IsMatch(key))];
        if (otherRules.Length > 0)
            throw new InvalidDataException($"{name} is no plain LoRA: {otherRules.Length} of its keys belong to another rule (DoRA, LoHa, LoKr, Tucker or "
                + $"full differences), which is not supported, as {otherRules[0]}.");

        var parts = new OrderedDictionary<(string? Network, string Layer, bool Underscored), Dictionary<string, string>>();
        var others = new List<string>();
        foreach (string key in tensors.Keys)
        {
            if (Part().Match(key) is not { Success: true } found)
            {
                others.Add(key);
                continue;
            }
            string part = found.Groups["part"].Value switch { "A" => "down", "B" => "up", var named => named };
            var layer = LayerOf(found.Groups["layer"].Value);
            if (!parts.TryGetValue(layer, out var keys))
                parts.Add(layer, keys = []);
            if (!keys.TryAdd(part, key))
                throw new InvalidDataException($"{name} holds more than one LoRA of a layer: {keys[part]} and {key}.");
        }

        var peft = PeftConfig(config, name);
        var pairs = new List<LoraPair>();
        foreach (var ((network, layer, underscored), keys) in parts)
        {
            if (keys.Keys.All(part => part == "alpha"))
            {
                others.AddRange(keys.Values);
                continue;
            }
            if (!keys.TryGetValue("down", out string? downKey) || !keys.TryGetValue("up", out string? upKey))
                throw new InvalidDataException($"{name} has {keys.First(part => part.Key != "alpha").Value} without its other half.");
            var (down, up) = (tensors[downKey], tensors[upKey]);
            if (down.dim() < 2 || up.dim() != down.dim() || down.shape[0] != up.shape[1] || down.shape[0] == 0 || up.shape.Skip(2).Any(size => size != 1))
                throw new InvalidDataException($"{name}: {downKey} [{string.Join(", ", down.shape)}] and {upKey} [{string.Join(", ", up.shape)}] "
                    + "are no pair; expected [rank, in, ...kernel] and [out, rank, 1, ...].");
            pairs.Add(new LoraPair(network, layer, underscored, down, up,
                keys.TryGetValue("alpha", out string? alphaKey) ? Scalar(tensors[alphaKey], alphaKey, name) : peft(network, down.shape[0]), [.. keys.Values]));
        }
        return new LoraFile(name, [.. tensors.Values], pairs, others);
    }

    public void Dispose()
    {
        foreach (var tensor in _tensors)
            tensor.Dispose();
    }

    /// <summary>The layer's name as the network has it, whatever the dialect; underscores stay.</summary>
    private static (string? Network, string Layer, bool Underscored) LayerOf(string stored)
    {
        string name = stored.StartsWith("base_model.model.", StringComparison.Ordinal) ? stored["base_model.model.".Length..] : stored;
        foreach (var (prefix, network, underscored) in Prefixes)
            if (name.StartsWith(prefix, StringComparison.Ordinal))
                return (network, underscored ? name[prefix.Length..] : Dotted(name[prefix.Length..]), underscored);
        return (null, Dotted(name), false);
    }

    private static string Dotted(string name)
    {
        name = name.Replace(".processor.", ".");                                       // diffusers before 0.22: the layers of an attention processor
        if (name.EndsWith(".to_out", StringComparison.Ordinal))
            name += ".0";
        name = name.Replace(".temporal_transformer.", ".").Replace(".attention_blocks.0.", ".attn1.").Replace(".attention_blocks.1.", ".attn2.");
        return SelfAttention().Replace(name, found => ".self_attn." + (found.Groups[1].Value == "out.0" ? "out" : found.Groups[1].Value) + "_proj");
    }

    /// <summary>alpha by network and rank: peft's, or the rank where it says nothing.</summary>
    private static Func<string?, long, double> PeftConfig(string? text, string name)
    {
        if (text is null)
            return (_, rank) => rank;
        Dictionary<string, JsonElement> config;
        try
        {
            config = JsonSerializer.Deserialize<Dictionary<string, JsonElement>>(text) ?? [];
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"The configuration of {name} is not correct JSON. {e.Message}", e);
        }
        foreach (var (key, value) in config)
        {
            string last = key[(key.LastIndexOf('.') + 1)..];
            if ((last == "use_dora" && value.ValueKind == JsonValueKind.True)
                || (last == "alpha_pattern" && value.ValueKind == JsonValueKind.Object && value.EnumerateObject().Any()))
                throw new InvalidDataException($"The configuration of {name} asks for {key}, which is not supported.");
        }
        return (network, rank) =>
        {
            JsonElement? Of(string key) => config.TryGetValue($"{network}.{key}", out var own) || config.TryGetValue(key, out own) ? own : null;
            if (Of("lora_alpha") is not { ValueKind: JsonValueKind.Number } alpha)
                return rank;
            return Of("use_rslora") is { ValueKind: JsonValueKind.True } ? alpha.GetDouble() * Math.Sqrt(rank) : alpha.GetDouble();
        };
    }

    private static double Scalar(Tensor tensor, string key, string name) => tensor.numel() == 1 ? tensor.to(ScalarType.Float64).item<double>()
        : throw new InvalidDataException($"{name}: {key} must be one number, and has the shape [{string.Join(", ", tensor.shape)}].");

    // peft puts the name of an adapter behind lora_A; Stable-LoRA leaves the weight out.
    [GeneratedRegex(@"^(?<layer>.+?)(?:(?:[._]lora(?:_linear_layer)?[._](?<part>A|B|down|up)(?:\.(?!weight$)\w+)?(?:\.weight)?)|(?:(?:[._]lora)?\.(?<part>alpha)))$")]
    private static partial Regex Part();

    [GeneratedRegex(@"\.(?:dora_scale|lora_magnitude_vector(?:\.\w+)*|lora_mid\.weight|hada_\w+|lokr_\w+|oft_\w+|diff|diff_b|lora_embedding_[AB])$|\.lora_[AB](?:\.\w+)?\.bias$")]
    private static partial Regex OtherRule();

    [GeneratedRegex(@"\.self_attn\.to_(q|k|v|out\.0)$")]
    private static partial Regex SelfAttention();
}
