using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.Diffusion;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Text;
using Microsoft.ML.Mobius.UNet;
using TorchSharp;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>An image model with random weights and a U-Net of some size; the layers are those of text-to-video-ms-1.7b, which full is.</summary>
/// <remarks>
/// Text encoder and autoencoder are as small as they can be (one layer; one pixel per latent), so that it is the U-Net that is measured.
/// </remarks>
/// <param name="Name">As on the command line and in the results.</param>
/// <param name="Channels">Of each of the four levels.</param>
/// <param name="CrossAttention">Width of the text states.</param>
internal sealed record ModelSize(string Name, IReadOnlyList<int> Channels, int CrossAttention)
{
    private const int HeadSize = 64;

    public static IReadOnlyList<ModelSize> All { get; } =
    [
        new("small", [64, 128, 256, 256], 256),
        new("medium", [160, 320, 640, 640], 768),
        new("full", [320, 640, 1280, 1280], 1024),
    ];

    /// <exception cref="ArgumentException">There is none of that name.</exception>
    public static ModelSize Named(string name) => All.FirstOrDefault(size => size.Name == name)
        ?? throw new ArgumentException($"There is no size '{name}'; there are {string.Join(", ", All.Select(size => size.Name))}.");

    /// <summary>Two layers per block; heads of size 64, or the next smaller one that divides the channels (40 where there are 160).</summary>
    [JsonIgnore] public UNetConfig UNet => new()
    {
        ClassName = "UNet3DConditionModel",
        DownBlockTypes = ["CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"],
        UpBlockTypes = ["UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D"],
        BlockOutChannels = Channels, CrossAttentionDim = CrossAttention, NumAttentionHeads = Channels.Select(Heads).ToArray(),
    };

    private static int Heads(int channels) => Enumerable.Range((channels + HeadSize - 1) / HeadSize, channels).First(heads => channels % heads == 0);

    private ClipTextConfig Text => new()
    {
        VocabSize = 2 * ClipBytes.VocabularyOrder.Length + 2, HiddenSize = CrossAttention, IntermediateSize = CrossAttention, NumHiddenLayers = 1, NumAttentionHeads = 1,
    };

    private static AutoencoderKlConfig Autoencoder => new() { BlockOutChannels = [8], NormNumGroups = 4 };

    /// <summary>The model as trainers take it; made when it is opened.</summary>
    /// <param name="opened">Told of it.</param>
    /// <param name="inner">Of every 32 channels inside temporal layers those that are there.</param>
    public PretrainedModel Start(Action<TextToImageModel>? opened = null, int inner = Arm.All32)
    {
        var unet = inner == Arm.All32 ? UNet : UNet with { Layout = UNetLayout.Serial, TemporalInner = inner };
        return new(Autoencoder.Factor, () =>
        {
            torch.random.manual_seed(0);
            var image = new TextToImageModel(
                Tokenizer(), new ClipTextModel(Text), new AutoencoderKl(Autoencoder), new SpatialStream(unet), unet, new NoiseSchedule(new NoiseScheduleConfig()));
            opened?.Invoke(image);
            return image;
        })
        {
            Architecture = () => new ModelArchitecture(Text, Autoencoder, unet),
        };
    }

    /// <summary>A token per byte.</summary>
    private static ClipTokenizer Tokenizer()
    {
        string[] tokens = [.. ClipBytes.VocabularyOrder.Select(symbol => $"{symbol}"),
            .. ClipBytes.VocabularyOrder.Select(symbol => symbol + ClipTokenizer.EndOfWord), ClipTokenizer.StartOfText, ClipTokenizer.EndOfText];
        var ids = tokens.Index().ToDictionary(token => token.Item, token => token.Index);
        using var vocabulary = new MemoryStream(JsonSerializer.SerializeToUtf8Bytes(ids));
        using var merges = new MemoryStream("#version: 0.2\n"u8.ToArray());
        return ClipTokenizer.Create(vocabulary, merges);
    }
}
