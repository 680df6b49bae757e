using System.Text;
using System.Text.Json;
using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.Diffusion;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Text;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Video;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests;

/// <summary>Models and clips small enough for milliseconds, with random weights everywhere.</summary>
internal static class Tiny
{
    public static UNetConfig UNet { get; } = new()
    {
        DownBlockTypes = ["CrossAttnDownBlock2D", "DownBlock2D"], UpBlockTypes = ["UpBlock2D", "CrossAttnUpBlock2D"],
        BlockOutChannels = [16, 32], LayersPerBlock = 1, NormNumGroups = 4, CrossAttentionDim = 16, AttentionHeadDim = 4,
    };

    public static ClipTokenizer Tokenizer()
    {
        string[] letters = [.. ClipBytes.VocabularyOrder.Select(c => $"{c}"), .. ClipBytes.VocabularyOrder.Select(c => $"{c}</w>"),
            ClipTokenizer.StartOfText, ClipTokenizer.EndOfText];
        var vocabulary = letters.Select((token, id) => (token, id)).ToDictionary(pair => pair.token, pair => pair.id);
        return ClipTokenizer.Create(new MemoryStream(JsonSerializer.SerializeToUtf8Bytes(vocabulary)), new MemoryStream(Encoding.UTF8.GetBytes("#version: 0.2\n")), maxLength: 77);
    }

    public static TextToImageModel Image(long seed = 5)
    {
        random.manual_seed(seed);
        var tokenizer = Tokenizer();
        var text = new ClipTextModel(new ClipTextConfig
        {
            VocabSize = tokenizer.VocabularySize, HiddenSize = 16, IntermediateSize = 32, NumHiddenLayers = 1, NumAttentionHeads = 2, MaxPositionEmbeddings = 77,
        });
        var autoencoder = new AutoencoderKl(new AutoencoderKlConfig { BlockOutChannels = [8, 16], NormNumGroups = 4 });
        return new TextToImageModel(tokenizer, text, autoencoder, Spatial(UNet), UNet, new NoiseSchedule(new NoiseScheduleConfig()));
    }

    public static TextToVideoModel Video(UNetLayout layout = UNetLayout.StreamParallel, int divisor = 1, bool told = false, long seed = 7)
        => TextToVideoModel.From(Image(), UNet with { Layout = layout, TemporalWidthDivisor = divisor, TemporalText = told, FramePositions = told }, seed);

    /// <summary>A video model whose temporal half is random as well, as if it had learnt something.</summary>
    public static TextToVideoModel Learnt(UNetLayout layout)
    {
        var model = Video(layout);
        random.manual_seed(8);
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        foreach (var parameter in model.UNet.Temporal.parameters())
            parameter.add_(randn_like(parameter) * 0.05);
        return model;
    }

    /// <summary>An image model whose norms and biases are random as well.</summary>
    public static SpatialStream Spatial(UNetConfig config)
    {
        var stream = new SpatialStream(config);
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        foreach (var parameter in stream.parameters())
            parameter.add_(randn_like(parameter) * 0.05);
        return stream;
    }

    /// <summary>Clips of 3 frames of 16x16 random pixels.</summary>
    public static TrainingData Clips(TextToVideoModel model, int count = 6)
    {
        var data = new TrainingData(model);
        var random = new Random(3);
        for (int i = 0; i < count; i++)
        {
            var pixels = new byte[3 * 16 * 16 * 3];
            random.NextBytes(pixels);
            data.Add($"clip {(char)('a' + i)}", new VideoClip(pixels, 3, 16, 16, 8));
        }
        return data;
    }
}
