using System.Text;
using System.Text.Json;
using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.Diffusion;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Text;
using Microsoft.ML.Mobius.UNet;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests;

/// <summary>A whole image model of random weights, small enough to be trained and sampled in tests: 4 pixels per latent, one token per byte.</summary>
internal static class TinyModel
{
    public const int Factor = 4;

    public static PretrainedModel Base { get; } = new(Factor, Image);

    private static readonly UNetConfig s_unet = new()
    {
        DownBlockTypes = ["CrossAttnDownBlock2D", "DownBlock2D"],
        UpBlockTypes = ["UpBlock2D", "CrossAttnUpBlock2D"],
        BlockOutChannels = [16, 16],
        LayersPerBlock = 1,
        NormNumGroups = 2,
        CrossAttentionDim = 16,
        AttentionHeadDim = 2,
    };

    public static TextToImageModel Image()
    {
        random.manual_seed(5);
        var text = new ClipTextConfig
        {
            VocabSize = 514, HiddenSize = 16, IntermediateSize = 32, NumHiddenLayers = 1, NumAttentionHeads = 2,
        };
        return new TextToImageModel(Tokenizer(), new ClipTextModel(text),
            new AutoencoderKl(new AutoencoderKlConfig { BlockOutChannels = [8, 8, 8], NormNumGroups = 2 }),
            new SpatialStream(s_unet), s_unet, new NoiseSchedule(new NoiseScheduleConfig()));
    }

    private static ClipTokenizer Tokenizer()
    {
        var vocabulary = ClipBytes.VocabularyOrder.Select(symbol => symbol.ToString())
            .Concat(ClipBytes.VocabularyOrder.Select(symbol => symbol + ClipTokenizer.EndOfWord))
            .Append(ClipTokenizer.StartOfText).Append(ClipTokenizer.EndOfText)
            .Select((token, id) => (token, id)).ToDictionary(pair => pair.token, pair => pair.id);
        using var vocab = new MemoryStream(JsonSerializer.SerializeToUtf8Bytes(vocabulary));
        using var merges = new MemoryStream(Encoding.UTF8.GetBytes("#version: 0.2\n"));
        return ClipTokenizer.Create(vocab, merges);
    }
}
