using System.Text.Json;
using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.Diffusion;
using Microsoft.ML.Mobius.Text;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;

namespace Microsoft.ML.Mobius.Models;

/// <summary>
/// One file with a whole Stable Diffusion 1.x, in the names of CompVis' latent-diffusion code. It brings no config, so widths and depths are read off its
/// tensors, and what leaves no trace in them is that of Stable Diffusion 1.x; and no vocabulary, so a tokenizer must be given.
/// </summary>
internal static class LdmCheckpoint
{
    private const int Heads = 8, TextHeadSize = 64, LatentSize = 64;

    private static readonly NoiseScheduleConfig s_schedule = new()
    {
        ClassName = "PNDMScheduler", Other = new() { ["skip_prk_steps"] = JsonSerializer.SerializeToElement(true) },
    };

    /// <param name="path">The file, safetensors or PyTorch's own.</param>
    /// <param name="tokenizer">A folder with CLIP's vocab.json and merges.txt; null looks for a folder tokenizer beside the file.</param>
    /// <exception cref="FileNotFoundException">There is no tokenizer.</exception>
    /// <exception cref="InvalidDataException">The file is damaged, or no Stable Diffusion 1.x.</exception>
    public static ModelSource Open(string path, string? tokenizer)
    {
        using var file = WeightFile.Open(path);
        var shapes = file.Entries.ToDictionary(pair => pair.Key, pair => pair.Value.Shape);
        Check(shapes, file.Name);
        string vocabulary = tokenizer ?? Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path))!, "tokenizer");
        if (!File.Exists(Path.Combine(vocabulary, "vocab.json")))
            throw new FileNotFoundException($"{file.Name} holds no vocabulary, and there is no vocab.json in '{vocabulary}': set TokenizerPath to a folder with "
                + "CLIP's vocab.json and merges.txt, as the folder tokenizer of any Stable Diffusion 1.x, or put it beside the file.", Path.Combine(vocabulary, "vocab.json"));

        var reading = new Shapes(shapes, file.Name);
        var (text, vae, unet) = (Text(reading), Autoencoder(reading), UNet(reading));
        var (vaeNames, unetNames) = (LdmNames.Autoencoder(vae), LdmNames.UNet(unet));
        WeightSource Part(string prefix, Func<string, string?> rename) => new(
            file.Name, () => WeightFile.Open(path), name => name.StartsWith(prefix, StringComparison.Ordinal), name => rename(name[prefix.Length..]));
        var weights = new Dictionary<ModelPart, WeightSource>
        {
            [ModelPart.TextEncoder] = Part(LdmNames.TextPrefix, ClipTextModel.CurrentName),
            [ModelPart.Autoencoder] = Part(LdmNames.AutoencoderPrefix, vaeNames.Ours),
            [ModelPart.Spatial] = Part(LdmNames.UNetPrefix, unetNames.Ours),
        };
        return new ModelSource(path, text, vae, unet, s_schedule,
            () => ClipTokenizer.FromFolder(vocabulary, text.MaxPositionEmbeddings), weights)
        {
            Unused = TensorCount.Of(shapes.Where(pair => !weights.Values.Any(part => part.Includes(pair.Key))).Select(pair => pair.Value)),
        };
    }

    private static void Check(Dictionary<string, long[]> shapes, string name)
    {
        bool Any(string prefix) => shapes.Keys.Any(key => key.StartsWith(prefix, StringComparison.Ordinal));
        if (Any("conditioner."))
            throw new InvalidDataException($"{name} is a Stable Diffusion XL; only 1.x is supported in one file.");
        if (Any("cond_stage_model.model."))
            throw new InvalidDataException($"{name} is a Stable Diffusion 2.x; only 1.x is supported in one file. Use the model's diffusers folder.");
        string[] lacking = [.. new[] { LdmNames.UNetPrefix, LdmNames.AutoencoderPrefix, LdmNames.TextPrefix }.Where(prefix => !Any(prefix))];
        if (lacking.Length > 0)
            throw new InvalidDataException($"{name} is no Stable Diffusion 1.x in one file: it has no tensor {string.Join("*, ", lacking)}*.");
    }

    private static ClipTextConfig Text(Shapes shapes)
    {
        const string Model = LdmNames.TextPrefix + "text_model.";
        int width = shapes.Size(Model + "embeddings.token_embedding.weight", 1);
        return new ClipTextConfig
        {
            VocabSize = shapes.Size(Model + "embeddings.token_embedding.weight", 0), HiddenSize = width,
            IntermediateSize = shapes.Size(Model + "encoder.layers.0.mlp.fc1.weight", 0),
            NumHiddenLayers = shapes.Count(i => $"{Model}encoder.layers.{i}.mlp.fc1.weight"),
            NumAttentionHeads = Math.Max(1, width / TextHeadSize), MaxPositionEmbeddings = shapes.Size(Model + "embeddings.position_embedding.weight", 0),
        };
    }

    private static AutoencoderKlConfig Autoencoder(Shapes shapes)
    {
        static string Resnet(int level, int layer) => $"{LdmNames.AutoencoderPrefix}encoder.down.{level}.block.{layer}.conv1.weight";
        return new AutoencoderKlConfig
        {
            BlockOutChannels = [.. Enumerable.Range(0, shapes.Count(k => Resnet(k, 0))).Select(k => shapes.Size(Resnet(k, 0), 0))],
            LayersPerBlock = shapes.Count(i => Resnet(0, i)), LatentChannels = shapes.Size(LdmNames.AutoencoderPrefix + "post_quant_conv.weight", 0),
        };
    }

    private static UNetConfig UNet(Shapes shapes)
    {
        static string Block(int i, string rest) => $"{LdmNames.UNetPrefix}input_blocks.{i}.{rest}";
        var channels = new List<int>();
        var attends = new List<bool>();
        int layers = 0;
        for (int i = 1; ; i++)
        {
            if (shapes.Has(Block(i, "0.op.weight")))
                continue;
            if (!shapes.Has(Block(i, "0.in_layers.2.weight")))
                break;
            bool opens = i == 1 || shapes.Has(Block(i - 1, "0.op.weight"));               // the first layer of a level
            if (opens)
            {
                channels.Add(shapes.Size(Block(i, "0.in_layers.2.weight"), 0));
                attends.Add(shapes.Has(Block(i, "1.proj_in.weight")));
            }
            layers += channels.Count == 1 ? 1 : 0;
        }
        int first = attends.IndexOf(true) is >= 0 and var at ? at : throw new InvalidDataException($"{shapes.Name} is no Stable Diffusion 1.x: no level has attention.");
        return new UNetConfig
        {
            SampleSize = LatentSize, InChannels = shapes.Size(Block(0, "0.weight"), 1), OutChannels = shapes.Size(LdmNames.UNetPrefix + "out.2.weight", 0),
            BlockOutChannels = channels, LayersPerBlock = layers, AttentionHeadDim = Heads,
            DownBlockTypes = [.. attends.Select(attention => attention ? "CrossAttnDownBlock2D" : "DownBlock2D")],
            UpBlockTypes = [.. attends.AsEnumerable().Reverse().Select(attention => attention ? "CrossAttnUpBlock2D" : "UpBlock2D")],
            CrossAttentionDim = shapes.Size(Block(1 + first * (layers + 1), "1.transformer_blocks.0.attn2.to_k.weight"), 1),
        };
    }

    /// <summary>Asks for sizes by name.</summary>
    private sealed record Shapes(IReadOnlyDictionary<string, long[]> All, string Name)
    {
        public bool Has(string tensor) => All.ContainsKey(tensor);

        public int Size(string tensor, int axis) => All.TryGetValue(tensor, out var shape) && axis < shape.Length && shape[axis] is > 0 and < int.MaxValue ? (int)shape[axis]
            : throw new InvalidDataException($"{Name} is no Stable Diffusion 1.x: it has no tensor {tensor} with a size along axis {axis}.");

        /// <summary>How many names there are, counted from 0 on.</summary>
        public int Count(Func<int, string> tensor)
        {
            int count = 0;
            while (Has(tensor(count)))
                count++;
            return count;
        }
    }
}
