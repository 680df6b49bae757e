using System.Text.Json;
using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.Diffusion;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Text;
using Microsoft.ML.Mobius.Torch;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.BaseModel;

/// <summary>
/// Trains text encoder and U-Net together, from nothing, on the latents of stills: loss of the velocity, AdamW, cosine schedule, averaged
/// weights.
/// </summary>
internal static class TextToImageTraining
{
    private const int BatchSize = 64, EncodeBatch = 32;
    private const double CaptionDropout = 0.1, AverageDecay = 0.995;

    /// <summary>
    /// Ends in pure noise (ᾱ_T = 4e-5), and spends a sixth of its steps where ᾱ is below 1e-3. The latents of a clip are so many that where a thing is,
    /// and whither it moves, should show in much stronger noise than one picture stands. Stable Diffusion's schedule ends at ᾱ_T = 4.7e-3, where the caption
    /// may not be needed for it yet (an estimate, not a measurement; Lin et al. 2023, arXiv 2305.08891; Hoogeboom et al. 2023, arXiv 2301.11093).
    /// </summary>
    private static readonly NoiseScheduleConfig Schedule = new()
    {
        BetaSchedule = "linear", BetaStart = 1e-4, BetaEnd = 0.02, PredictionType = "v_prediction", SetAlphaToOne = true,
        Other = new()
        {
            ["timestep_spacing"] = JsonSerializer.SerializeToElement("trailing"),
            ["final_sigmas_type"] = JsonSerializer.SerializeToElement("zero"),
        },
    };

    /// <summary>A model of the base's architecture with first weights.</summary>
    public static TextToImageModel Start(AutoencoderKl autoencoder, ClipTokenizer tokenizer)
    {
        var textConfig = new ClipTextConfig
        {
            VocabSize = tokenizer.VocabularySize, HiddenSize = 128, IntermediateSize = 256, NumHiddenLayers = 2, NumAttentionHeads = 4,
            MaxPositionEmbeddings = tokenizer.MaxLength,
        };
        var unetConfig = new UNetConfig
        {
            SampleSize = ImageSource.Size / autoencoder.Config().Factor,
            InChannels = autoencoder.Config().LatentChannels,
            OutChannels = autoencoder.Config().LatentChannels,
            BlockOutChannels = [64, 112],
            DownBlockTypes = ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            UpBlockTypes = ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
            LayersPerBlock = 1,
            NormNumGroups = 16,
            CrossAttentionDim = textConfig.HiddenSize,
            AttentionHeadDim = 4,
            UseLinearProjection = true,
        };
        var model = new TextToImageModel(tokenizer, new ClipTextModel(textConfig), autoencoder, new SpatialStream(unetConfig), unetConfig,
            new NoiseSchedule(Schedule));
        // CLIP's 0.02 is for wider embeddings and longer training.
        nn.init.normal_(model.TextEncoder.get_parameter("text_model.embeddings.token_embedding.weight"), 0, 0.4);
        // The first prediction is 0.
        nn.init.zeros_(model.UNet.HeadLayers().Conv.weight!);
        return model;
    }

    /// <summary>Trains, with a cosine from <paramref name="learningRate"/> down.</summary>
    /// <param name="model">Text encoder and U-Net are trained.</param>
    /// <param name="draw">Draws a still and gives its caption.</param>
    /// <param name="seed">Seed of stills and training.</param>
    /// <param name="stills">How many stills.</param>
    /// <param name="steps">Steps of 64 stills.</param>
    /// <param name="learningRate">After the warm-up.</param>
    /// <param name="say">Takes lines of progress.</param>
    /// <param name="save">Called with the averaged weights in the model, every 1000 steps.</param>
    public static void Train(TextToImageModel model, Func<Random, byte[], string> draw, int seed, int stills, int steps, double learningRate,
        Action<string> say, Action save)
    {
        model.TextEncoder.train();
        model.UNet.train();
        var (latents, ids) = Encode(model, draw, seed, stills, say);
        long[] unconditional = model.Tokenizer.Encode("").Ids;
        var parameters = model.TextEncoder.parameters().Concat(model.UNet.parameters()).ToList();
        using var average = new WeightAverage(parameters, AverageDecay);
        using var optimizer = optim.AdamW(parameters, lr: learningRate, beta1: 0.9, beta2: 0.99, weight_decay: 0.01);
        var random = new Random(seed);
        var clock = System.Diagnostics.Stopwatch.StartNew();
        double recent = 1;
        var schedule = new TrainingSettings { Steps = steps, LearningRate = learningRate, WarmupSteps = 100 };
        for (int step = 1; step <= steps; step++)
        {
            using var scope = NewDisposeScope();
            foreach (var group in optimizer.ParamGroups)
                group.LearningRate = schedule.LearningRateAt(step);

            long[] picks = [.. Enumerable.Range(0, BatchSize).Select(_ => random.NextInt64(stills))];
            int[] t = [.. picks.Select(_ => random.Next(model.Schedule.Steps))];
            var z0 = latents[tensor(picks)];
            var noise = randn_like(z0);
            long[][] captions = [.. picks.Select(i => random.NextDouble() < CaptionDropout ? unconditional : ids[i])];
            var tokens = tensor(captions.SelectMany(c => c).ToArray()).reshape(BatchSize, -1);
            var (times, noisy) = (tensor(t, ScalarType.Int64), model.Schedule.AddNoise(z0, noise, t));
            var target = model.Schedule.Target(z0, noise, t);

            double Backward(Range part)
            {
                using var partScope = NewDisposeScope();
                var predicted = model.UNet.call(noisy[part], times[part], model.TextEncoder.call(tokens[part]));
                var loss = (predicted - target[part]).square().mean() / 2;                                      // of two halves
                loss.backward();
                return loss.item<float>();
            }

            optimizer.zero_grad();
            var (first, second) = SideBySide.Run(() => Backward(..(BatchSize / 2)), () => Backward((BatchSize / 2)..));
            nn.utils.clip_grad_norm_(parameters, 1.0);
            optimizer.step();
            average.Add(step);

            recent = 0.98 * recent + 0.02 * (first + second);
            if (step % 100 == 0 || step == 1)
                say($"text to image step {step}/{steps}  loss {recent:F4}  {step / clock.Elapsed.TotalSeconds:F2} it/s");
            if (step % 1000 == 0 && step < steps)
            {
                average.Swap();
                save();
                average.Swap();
            }
        }
        average.Swap();
        model.TextEncoder.eval();
        model.UNet.eval();
        latents.Dispose();
    }

    /// <summary>The latents of all stills, [N, c, h, w], and their captions' token ids.</summary>
    private static (Tensor Latents, long[][] Ids) Encode(TextToImageModel model, Func<Random, byte[], string> draw, int seed, int stills, Action<string> say)
    {
        using var source = new ImageSource(seed, draw);
        using var _ = no_grad();
        var parts = new List<Tensor>();
        var ids = new List<long[]>();
        while (ids.Count < stills)
        {
            using var scope = NewDisposeScope();
            parts.Add(model.Autoencoder.Encode(source.Next(EncodeBatch, out string[] captions)).MoveToOuterDisposeScope());
            ids.AddRange(captions.Select(caption => model.Tokenizer.Encode(caption).Ids));
        }
        var latents = cat(parts);
        parts.ForEach(part => part.Dispose());
        say($"{ids.Count} stills encoded, latents of mean {latents.mean().item<float>():F3} and deviation {latents.std().item<float>():F3}");
        return (latents, [.. ids]);
    }
}
