using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.Diffusion;
using Microsoft.ML.Mobius.Text;
using Microsoft.ML.Mobius.Torch;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Models;

/// <summary>
/// A text-to-video model: everything from a caption to pixels. Owns its modules; of their weights only the temporal half of the U-Net is ever trained, or a LoRA.
/// </summary>
internal sealed class TextToVideoModel : IDisposable
{
    private const string LoraEntry = "lora.safetensors";

    private readonly LoraStack _loras;

    private TextToVideoModel(ClipTokenizer tokenizer, ClipTextModel textEncoder, AutoencoderKl autoencoder, VideoUNet unet, NoiseSchedule schedule,
        IReadOnlyList<AppliedLora>? loras = null)
    {
        _loras = new LoraStack(loras);
        (Tokenizer, TextEncoder, Autoencoder, UNet, Schedule) = (tokenizer, textEncoder, autoencoder, unet, schedule);
        foreach (var frozen in new nn.Module[] { textEncoder, autoencoder, unet.Spatial })
        {
            frozen.eval();
            foreach (var parameter in frozen.parameters())
                parameter.requires_grad = false;
        }
    }

    public ClipTokenizer Tokenizer { get; }

    public ClipTextModel TextEncoder { get; }

    public AutoencoderKl Autoencoder { get; }

    public VideoUNet UNet { get; }

    public NoiseSchedule Schedule { get; private set; }

    public Device Device { get; private set; } = CPU;

    /// <summary>What was read of a pretrained model's files, part by part; empty for one of no files.</summary>
    public IReadOnlyList<LoadedPart> Loaded { get; private init; } = [];

    /// <summary>Pixels per latent along each side.</summary>
    public int Factor => Autoencoder.Config().Factor;

    /// <summary>All parameters, of text encoder, autoencoder and U-Net.</summary>
    public long ParameterCount => new nn.Module[] { TextEncoder, Autoencoder, UNet }.SelectMany(m => m.parameters()).Sum(p => p.numel());

    /// <summary>Parameters that training moved: those of the LoRA that was trained, else of the temporal half.</summary>
    public long TrainedParameterCount => TrainedLora is null ? UNet.Temporal.parameters().Sum(p => p.numel()) : LoraParameters(TrainedLora);

    /// <summary>The LoRA that was trained, which is merged into the weights, as a safetensors file; null if the temporal half was trained, or nothing.</summary>
    public byte[]? TrainedLora { get; private set; }

    /// <summary>What training moves, by the blocks of the temporal half, in their order.</summary>
    public IEnumerable<(string Name, long Parameters)> TrainedParts() => UNet.Temporal.named_parameters()
        .GroupBy(pair => string.Join('.', pair.name.Split('.').TakeWhile((word, i) => i == 0 || (i == 1 && word.All(char.IsAsciiDigit)))))
        .Select(part => (part.Key, part.Sum(pair => pair.parameter.numel())));

    /// <summary>The LoRAs applied to it, in order; a model that was loaded has those that were merged into it before it was saved.</summary>
    public IReadOnlyList<AppliedLora> Loras => _loras.Applied;

    /// <summary>Makes a video model around an image model, whose parts it takes over.</summary>
    /// <param name="image">The image model; not to be used otherwise from now on.</param>
    /// <param name="config">That of the image model, with what the temporal half shall be.</param>
    /// <param name="seed">Seed of those of the temporal layers' first weights that the model's files do not bring.</param>
    /// <param name="motion">Motion modules that the temporal half shall be, whatever <paramref name="config"/> says of it; null for none.</param>
    /// <exception cref="WeightMismatchException">
    /// The files' temporal weights are not those that their config describes, or the motion modules are another image model's.
    /// </exception>
    public static TextToVideoModel From(TextToImageModel image, UNetConfig config, long seed, MotionModules? motion = null)
    {
        VideoUNet unet;
        using (var before = get_rng_state())
        {
            random.manual_seed(seed);
            unet = VideoUNet.Around(image.UNet, motion is null ? config : config with { Motion = motion.Config });
            set_rng_state(before);                                  // the caller's random numbers are none of ours
        }
        try
        {
            var loaded = image.Loaded;
            if (motion is not null)
                motion.LoadInto(unet.Temporal);
            else if (image.Source is { } source)
                loaded = [.. loaded, TemporalStart.Load(unet.Temporal, config, source)];
            unet.eval();
            return new TextToVideoModel(image.Tokenizer, image.TextEncoder, image.Autoencoder, unet, image.Schedule) { Loaded = loaded };
        }
        catch
        {
            unet.Dispose();
            image.TextEncoder.Dispose();
            image.Autoencoder.Dispose();
            throw;
        }
    }

    /// <summary>Applies a LoRA to the U-Net and the text encoder, with the model where it is to stay; nothing is changed if this throws.</summary>
    /// <param name="path">A file, or a folder as diffusers or peft writes it.</param>
    /// <param name="scale">Factor of the change.</param>
    /// <param name="live">Whether it acts beside the weights instead of being merged into them.</param>
    /// <param name="forGood">Whether <see cref="RemoveLoras"/> shall leave it.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is no LoRA, or damaged.</exception>
    /// <exception cref="WeightMismatchException">No key names a layer of the model, or a shape differs.</exception>
    public AppliedLora ApplyLora(string path, double scale, bool live = false, bool forGood = false)
    {
        using var file = LoraFile.Read(path);
        return _loras.Apply(LoraMatch.Of(file, ("unet", UNet.PublishedModules()), ("text_encoder", TextEncoder.named_modules())), scale, live, forGood);
    }

    /// <summary>Takes all LoRAs off that were not applied for good; every weight is then bit for bit what it was before.</summary>
    public void RemoveLoras() => _loras.Remove();

    /// <summary>Makes the noise of a clip's frames correlated, in training and in sampling; it is saved with the model.</summary>
    /// <param name="correlation">Of any two frames, 0 up to but not including 1.</param>
    public void CorrelateFrames(double correlation)
        => Schedule = new NoiseSchedule(Schedule.Config with { FrameCorrelation = correlation > 0 ? correlation : null });

    /// <summary>Changes what the model is to predict and how its noise ends, in training and in sampling; it is saved with the model.</summary>
    /// <param name="predictionType">prediction_type of the config; null leaves it.</param>
    /// <param name="zeroTerminalSnr">Whether the last time step is noise alone; null leaves it.</param>
    /// <exception cref="NotSupportedException">Noise would be predicted from noise alone.</exception>
    public void Predict(string? predictionType, bool? zeroTerminalSnr) => Schedule = new NoiseSchedule(Schedule.Config with
    {
        PredictionType = predictionType ?? Schedule.Config.PredictionType,
        RescaleBetasZeroSnr = zeroTerminalSnr ?? Schedule.Config.RescaleBetasZeroSnr,
    });

    /// <summary>Merges a LoRA that was trained into the weights, for good; where it is on the image model, into the temporal half's copies of its layers, too.</summary>
    public void Merge(TrainableLora lora)
    {
        using var file = new MemoryStream();
        var match = lora.Match();
        match.Write(file);
        match.MergeInto(1);
        var copies = UNet.Copies().ToDictionary(copy => $"unet.{copy.Name}", copy => copy.Module);
        (match with { Layers = [.. from one in match.Layers where copies.ContainsKey(one.Name) select (one.Name, (nn.Module<Tensor, Tensor>)copies[one.Name], one.Pair)] }).MergeInto(1);
        TrainedLora = file.ToArray();
    }

    public void To(Device device)
    {
        TextEncoder.to(device);
        Autoencoder.to(device);
        UNet.to(device);
        Device = device;
    }

    /// <summary>Moves text encoder and autoencoder: to the CPU while nothing but the U-Net is used, and back to <see cref="Device"/> before they are.</summary>
    public void PutEncoders(Device device)
    {
        TextEncoder.to(device);
        Autoencoder.to(device);
    }

    /// <summary>Token ids to text states.</summary>
    /// <param name="captions">B captions; over-long ones are cut.</param>
    /// <returns>[B, N, D]; belongs to the caller's scope.</returns>
    public Tensor EncodeText(params IReadOnlyList<string> captions) => EncodeText(captions, weighted: false);

    /// <summary>Token ids to text states.</summary>
    /// <param name="captions">B captions; over-long ones are cut.</param>
    /// <param name="weighted">
    /// Whether they are read with weights: each token's states are multiplied by its weight, and then all of a caption by one number that gives them the mean size, |state|, they
    /// had. (Programs keep the mean itself; a last layer norm without biases makes that 0.)
    /// </param>
    /// <returns>[B, N, D]; belongs to the caller's scope.</returns>
    public Tensor EncodeText(IReadOnlyList<string> captions, bool weighted)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var tokens = captions.Select(caption => TokensOf(caption, weighted)).ToArray();
        var states = TextEncoder.call(stack(tokens.Select(caption => tensor(caption.Ids))).OnDevice(Device));
        if (tokens.SelectMany(caption => caption.Weights).All(weight => weight == 1))
            return states.MoveToOuterDisposeScope();
        var raised = states * stack(tokens.Select(caption => tensor(caption.Weights))).OnDevice(Device).unsqueeze(-1);
        return (raised * (MeanSize(states) / MeanSize(raised))).MoveToOuterDisposeScope();

        static Tensor MeanSize(Tensor states) => states.abs().mean([1, 2], keepdim: true);
    }

    /// <summary>A caption as the text encoder reads it.</summary>
    public TokenizedText TokensOf(string caption, bool weighted) => weighted ? Tokenizer.Encode(WeightedText.Parse(caption)) : Tokenizer.Encode(caption);

    /// <summary>Writes the model as named entries, weights in float32, each a forward-only stream.</summary>
    /// <exception cref="InvalidOperationException">A LoRA acts live: it is no part of the weights.</exception>
    public void Save(Action<string, Action<Stream>> write)
    {
        if (Loras.FirstOrDefault(lora => lora.Live) is { } live)
            throw new InvalidOperationException($"The LoRA {live.File} acts live and would not be saved: take it off, or merge it.");
        write("config.json", stream => JsonSerializer.Serialize(stream,
            new Configs(TextEncoder.Config, Autoencoder.Config(), UNet.Config, Schedule.Config, Tokenizer.PadToken, Loras)));
        write("tokenizer.vocab.json", stream => Tokenizer.Save(stream, Stream.Null));
        write("tokenizer.merges.txt", stream => Tokenizer.Save(Stream.Null, stream));
        foreach (var (name, module) in Parts(TextEncoder, Autoencoder, UNet))
            write(name, stream => Safetensors.Write(stream, StateDict.Of(module)));
        if (TrainedLora is { } lora)
            write(LoraEntry, stream => stream.Write(lora));
    }

    /// <summary>Reads what <see cref="Save"/> wrote, in the same order.</summary>
    /// <param name="read">Passes the stream of a named entry on; false if there is none of that name.</param>
    /// <exception cref="InvalidDataException">An entry is missing or damaged.</exception>
    public static TextToVideoModel Load(Func<string, Action<Stream>, bool> read)
    {
        void Entry(string name, Action<Stream> use)
        {
            try
            {
                if (!read(name, use))
                    throw new InvalidDataException($"The model has no entry {name}.");
            }
            catch (Exception e) when (e is JsonException or EndOfStreamException or WeightMismatchException
                || (e is InvalidDataException && !e.Message.Contains(name, StringComparison.Ordinal)))
            {
                throw new InvalidDataException($"The model's entry {name} is damaged: {e.Message}", e);
            }
        }

        Configs? configs = null;
        Entry("config.json", stream => configs = JsonSerializer.Deserialize<Configs>(stream) is { IsWhole: true } whole ? whole
            : throw new InvalidDataException("a part of the model is not described"));
        var (textConfig, vaeConfig, unetConfig, scheduleConfig, padToken, loras) = configs!;
        byte[] vocabulary = [], merges = [];
        Entry("tokenizer.vocab.json", stream => vocabulary = Bytes(stream));
        Entry("tokenizer.merges.txt", stream => merges = Bytes(stream));

        // Names vocab.json or merges.txt itself where one of them is damaged.
        var tokenizer = ClipTokenizer.Create(new MemoryStream(vocabulary), new MemoryStream(merges), padToken, textConfig.MaxPositionEmbeddings);
        var model = new TextToVideoModel(tokenizer, new ClipTextModel(textConfig), new AutoencoderKl(vaeConfig),
            VideoUNet.Around(new SpatialStream(unetConfig), unetConfig), new NoiseSchedule(scheduleConfig), loras);
        try
        {
            foreach (var (name, module) in Parts(model.TextEncoder, model.Autoencoder, model.UNet))
                Entry(name, stream =>
                {
                    var weights = Safetensors.Read(stream);
                    try
                    {
                        StateDict.Load(module, weights, name);
                    }
                    finally
                    {
                        foreach (var weight in weights.Values)
                            weight.Dispose();
                    }
                });
            model.UNet.eval();
            read(LoraEntry, stream => model.TrainedLora = Bytes(stream));
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        _loras.Dispose();
        TextEncoder.Dispose();
        Autoencoder.Dispose();
        UNet.Dispose();
    }

    private static IEnumerable<(string Name, nn.Module Module)> Parts(ClipTextModel textEncoder, AutoencoderKl autoencoder, VideoUNet unet) =>
    [
        ("text_encoder.safetensors", textEncoder),
        ("vae.safetensors", autoencoder),
        ("unet.spatial.safetensors", unet.Spatial),
        ("unet.temporal.safetensors", unet.Temporal),
    ];

    private static long LoraParameters(byte[] file) => SafetensorsHeader.Read(new MemoryStream(file), LoraEntry).Entries
        .Sum(entry => entry.Shape.Aggregate(1L, (product, size) => product * size));

    private static byte[] Bytes(Stream stream)
    {
        var copy = new MemoryStream();
        stream.CopyTo(copy);
        return copy.ToArray();
    }

    private sealed record Configs(ClipTextConfig TextEncoder, AutoencoderKlConfig Autoencoder, UNetConfig UNet, NoiseScheduleConfig Schedule, string PadToken,
        IReadOnlyList<AppliedLora>? Loras = null)
    {
        /// <summary>Missing members come as nulls.</summary>
        [JsonIgnore]
        public bool IsWhole => TextEncoder is not null && Autoencoder is not null && UNet is not null && Schedule is not null && PadToken is not null;
    }
}
