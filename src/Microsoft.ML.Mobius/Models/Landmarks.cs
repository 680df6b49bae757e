using Microsoft.ML.Mobius.Weights;

namespace Microsoft.ML.Mobius.Models;

/// <summary>
/// Weights whose shapes follow from a config alone and give away every width and depth in it. They are compared before a module is built, so that a config
/// that does not fit the weights can ask for no more memory than these take.
/// </summary>
internal static class Landmarks
{
    /// <exception cref="WeightMismatchException">A config and its weights do not fit.</exception>
    public static void Check(ModelSource source)
    {
        Check(source.Weights[ModelPart.TextEncoder], OfTextEncoder(source));
        Check(source.Weights[ModelPart.Autoencoder], OfAutoencoder(source));
        Check(source.Weights[ModelPart.Spatial], OfUNet(source));
    }

    private static void Check(WeightSource weights, IEnumerable<(string Name, long[] Shape)> landmarks)
    {
        using var file = weights.Open();
        var found = new Dictionary<string, long[]>();
        foreach (var entry in file.Entries.Values.Where(entry => weights.Includes(entry.Name)))
            if (weights.Rename(entry.Name) is { } name)
                found[name] = entry.Shape;
        string[] missing = [.. landmarks.Where(mark => !found.ContainsKey(mark.Name)).Select(mark => mark.Name)];
        string[] unfit = [.. landmarks.Where(mark => found.TryGetValue(mark.Name, out var shape) && !shape.AsSpan().SequenceEqual(mark.Shape))
            .Select(mark => $"{mark.Name} (expected {Text(mark.Shape)}, found {Text(found[mark.Name])})")];
        if (missing.Length + unfit.Length > 0)
            throw new WeightMismatchException(weights.Name, missing, [], unfit);
    }

    private static IEnumerable<(string, long[])> OfTextEncoder(ModelSource source)
    {
        var config = source.TextEncoder;
        yield return ("text_model.embeddings.token_embedding.weight", [config.VocabSize, config.HiddenSize]);
        yield return ("text_model.embeddings.position_embedding.weight", [config.MaxPositionEmbeddings, config.HiddenSize]);
        yield return ($"text_model.encoder.layers.{config.NumHiddenLayers - 1}.mlp.fc1.weight", [config.IntermediateSize, config.HiddenSize]);
    }

    private static IEnumerable<(string, long[])> OfAutoencoder(ModelSource source)
    {
        var config = source.Autoencoder;
        yield return ("encoder.conv_in.weight", [config.BlockOutChannels[0], config.InChannels, 3, 3]);
        for (int k = 0; k < config.BlockOutChannels.Count; k++)
            yield return ($"encoder.down_blocks.{k}.resnets.{config.LayersPerBlock - 1}.conv2.weight", [config.BlockOutChannels[k], config.BlockOutChannels[k], 3, 3]);
        yield return ("post_quant_conv.weight", [config.LatentChannels, config.LatentChannels, 1, 1]);
        yield return ("decoder.conv_out.weight", [config.OutChannels, config.BlockOutChannels[0], 3, 3]);
    }

    private static IEnumerable<(string, long[])> OfUNet(ModelSource source)
    {
        var config = source.UNet;
        yield return ("conv_in.weight", [config.BlockOutChannels[0], config.InChannels, 3, 3]);
        for (int k = 0; k < config.LevelCount; k++)
        {
            int channels = config.BlockOutChannels[k];
            yield return ($"down_blocks.{k}.resnets.{config.LayersPerBlock - 1}.conv2.weight", [channels, channels, 3, 3]);
            if (config.HasAttentionDown(k))
                yield return ($"down_blocks.{k}.attentions.0.transformer_blocks.0.attn2.to_k.weight", [channels, config.CrossAttentionDim]);
        }
        yield return ("mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", [config.BlockOutChannels[^1], config.CrossAttentionDim]);
        yield return ("conv_out.weight", [config.OutChannels, config.BlockOutChannels[0], 3, 3]);
    }

    private static string Text(long[] shape) => $"[{string.Join(", ", shape)}]";
}
