using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Training;

/// <summary>Two steps of training with each option, against the same written out: noise, target, weights, gradient, clipping, AdamW and average.</summary>
[TestClass]
public sealed class TrainingFormulaTests
{
    /// <summary>Of a seed by which the first clip has little noise on, where weightings differ most.</summary>
    private static readonly TrainingSettings TwoSteps = new()
    {
        Steps = 2, BatchSize = 2, WarmupSteps = 0, HeldOutFraction = 0, EvaluateEvery = 0,
        Seed = Enumerable.Range(0, 1000).First(seed => new TrainingRandom(seed).Batch(0).Next(1000) < 100),
    };

    private static readonly Dictionary<string, (Func<TrainingSettings, TrainingSettings> Settings, Action<TextToVideoModel> Model)> s_options = new()
    {
        ["usual"] = (settings => settings, _ => { }),
        ["another seed"] = (settings => settings with { Seed = settings.Seed + 1 }, _ => { }),
        ["batch of 3"] = (settings => settings with { BatchSize = 3 }, _ => { }),
        ["accumulation"] = (settings => settings with { GradientAccumulationSteps = 2 }, _ => { }),
        ["learning rate"] = (settings => settings with { LearningRate = 3e-3 }, _ => { }),
        ["constant"] = (settings => settings with { LearningRateSchedule = LearningRateSchedule.Constant }, _ => { }),
        ["warm-up"] = (settings => settings with { WarmupSteps = 4 }, _ => { }),
        ["weight decay"] = (settings => settings with { WeightDecay = 20 }, _ => { }),
        ["clipping"] = (settings => settings with { MaxGradientNorm = 1e-2 }, _ => { }),
        ["velocity weights"] = (settings => settings with { LossWeighting = LossWeighting.Velocity }, _ => { }),
        ["min-SNR"] = (settings => settings with { LossWeighting = LossWeighting.MinSnr }, _ => { }),
        ["offset noise"] = (settings => settings with { OffsetNoise = 0.5 }, _ => { }),
        ["input perturbation"] = (settings => settings with { InputPerturbation = 0.5 }, _ => { }),
        ["caption dropout"] = (settings => settings with { CaptionDropout = 1 }, _ => { }),
        ["average"] = (settings => settings with { EmaDecay = 0.9 }, _ => { }),
        ["images"] = (settings => settings with { ImageShare = 1 }, _ => { }),
        ["frame correlation"] = (settings => settings, model => model.CorrelateFrames(0.5)),
        ["velocity"] = (settings => settings, model => model.Predict("v_prediction", null)),
        ["velocity, min-SNR"] = (settings => settings with { LossWeighting = LossWeighting.MinSnr }, model => model.Predict("v_prediction", null)),
        ["sample"] = (settings => settings, model => model.Predict("sample", null)),
        ["sample, velocity weights"] = (settings => settings with { LossWeighting = LossWeighting.Velocity }, model => model.Predict("sample", null)),
        ["zero terminal SNR"] = (settings => settings, model => model.Predict("v_prediction", true)),
        ["temporal LoRA"] = (settings => settings with { Lora = new LoraSettings(TrainedPart.TemporalLora, 2, 3) }, _ => { }),
        ["spatial LoRA"] = (settings => settings with { Lora = new LoraSettings(TrainedPart.SpatialLora, 2, 3) }, _ => { }),
    };

    public static IEnumerable<object[]> Options => s_options.Keys.Select(option => new object[] { option });

    [TestMethod]
    [DynamicData(nameof(Options))]
    public void Run_WithTheOption_FollowsTheFormula(string option)
    {
        using var scope = NewDisposeScope();
        var (losses, weights) = Trained(option);
        var (expected, written) = WrittenOut(option);
        for (int step = 0; step < losses.Length; step++)
            Assert.AreEqual(expected[step], losses[step], 2e-5 * expected[step], $"loss of step {step + 1}");

        // AdamW makes a whole step of a gradient that is rounding alone: nearly all are near.
        long elements = 0, apart = 0;
        foreach (var (one, other) in weights.Zip(written))
        {
            elements += one.numel();
            apart += ((one - other).abs() > 0.05 * TwoSteps.LearningRate).sum().item<long>();
        }
        Assert.HasCount(written.Count, weights);
        Assert.IsLessThanOrEqualTo(0.01 * elements, apart, $"{apart} of {elements} weights are apart.");

        if (option == "usual")
            return;
        var (usualLosses, usualWeights) = Trained("usual");
        bool same = usualLosses.SequenceEqual(losses) && usualWeights.Zip(weights).All(pair => Close.Apart(pair.First, pair.Second) < 0.05 * TwoSteps.LearningRate);
        Assert.IsFalse(same, "The option changes nothing.");
    }

    private static TextToVideoModel Model(string option)
    {
        var model = Tiny.Learnt(UNetLayout.StreamParallel);
        s_options[option].Model(model);
        return model;
    }

    private static (double[] Losses, List<Tensor> Weights) Trained(string option)
    {
        using var model = Model(option);
        using var data = Tiny.Clips(model);
        var history = TrainingLoop.Run(model, data, s_options[option].Settings(TwoSteps));
        List<Tensor> weights = [.. model.TrainedLora is { } lora ? Safetensors.Read(new MemoryStream(lora)).Values
            : model.UNet.Temporal.parameters().Select(parameter => parameter.detach().clone())];
        return ([.. history.Losses.Select(point => point.Loss)], weights);
    }

    private static (double[] Losses, List<Tensor> Weights) WrittenOut(string option)
    {
        using var model = Model(option);
        using var data = Tiny.Clips(model);
        var settings = s_options[option].Settings(TwoSteps);
        var random = new TrainingRandom(settings.Seed);
        var order = new ClipOrder([data.Split(0, random).Trained], random);
        bool images = model.UNet.FramesAreImages = settings.Lora is { OfImages: true };
        using var generator = random.Lora();
        using var lora = settings.Lora is not { } asked ? null
            : new TrainableLora(images ? model.UNet.SpatialAttentions() : model.UNet.TemporalLinears(), asked.Rank, asked.Alpha, generator);
        Parameter[] parameters = [.. (lora ?? (nn.Module)model.UNet.Temporal).parameters()];
        Tensor[] m = [.. parameters.Select(p => zeros_like(p))], v = [.. parameters.Select(p => zeros_like(p))], average = [.. parameters.Select(p => p.detach().clone())];
        var losses = new double[settings.Steps];

        for (int n = 1; n <= settings.Steps; n++)
        {
            foreach (var parameter in parameters)
                parameter.grad = null;
            for (int batch = 0; batch < settings.GradientAccumulationSteps; batch++)
            {
                var squares = Squares(model, data, settings, random, order, (n - 1) * settings.GradientAccumulationSteps + batch, out double[] w);
                losses[n - 1] += squares.mean().item<float>() / settings.GradientAccumulationSteps;
                ((squares * tensor([.. w.Select(one => (float)one)])).mean() / settings.GradientAccumulationSteps).backward();
            }

            using var _ = no_grad();
            double norm = Math.Sqrt(parameters.Where(p => p.grad is not null).Sum(p => p.grad!.square().sum().item<float>()));
            double rate = settings.LearningRate * (settings.LearningRateSchedule == LearningRateSchedule.Constant ? 1
                : 0.5 * (1 + Math.Cos(Math.PI * (n - 1) / settings.Steps))) * Math.Min(1, n / Math.Max(1.0, settings.WarmupSteps));
            foreach (var (i, p) in parameters.Index())
            {
                if (p.grad is null)
                    continue;
                var g = p.grad * Math.Min(1, settings.MaxGradientNorm / (norm + 1e-6));
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                p.mul_(1 - rate * settings.WeightDecay);
                p.sub_(rate * (m[i] / (1 - Math.Pow(0.9, n))) / ((v[i] / (1 - Math.Pow(0.999, n))).sqrt() + 1e-8));
            }
            double decay = n == 1 ? 0 : Math.Min(settings.EmaDecay, n / (n + 9.0));
            foreach (var (i, p) in parameters.Index())
                average[i] = decay * average[i] + (1 - decay) * p;
        }
        var result = settings.EmaDecay > 0 ? average : [.. parameters.Select(p => p.detach())];
        return (losses, [.. result.Select((p, i) => (lora is not null && i % 2 == 1 ? p * (settings.Lora!.Alpha / settings.Lora.Rank) : p).clone())]);
    }

    /// <summary>|target - prediction|² of each clip, and its weight.</summary>
    private static Tensor Squares(TextToVideoModel model, TrainingData data, TrainingSettings settings, TrainingRandom random, ClipOrder order, int number, out double[] weights)
    {
        int[] clips = order.Batch(number, settings.BatchSize);
        using var generator = random.Noise(number);
        var draw = random.Batch(number);
        Tensor Of(Func<ClipLatents, Tensor> part) => stack(clips.Select(clip => part(data.LatentsOf(clip).Single())));
        Tensor Drawn(params long[] shape) => randn(shape, generator: generator);

        var (mean, deviation) = (Of(latents => latents.Mean), Of(latents => latents.Deviation));
        var z0 = mean + deviation * Drawn(mean.shape);
        if (settings.Lora is { OfImages: true } || (settings.ImageShare > 0 && draw.NextDouble() < settings.ImageShare))
        {
            int[] frames = [.. clips.Select(_ => draw.Next(3))];
            z0 = stack(frames.Select((f, i) => z0[i].index_select(1, tensor(new long[] { f }))));
        }
        long[] all = z0.shape, shared = [all[0], all[1], 1, all[3], all[4]], perChannel = [all[0], all[1], 1, 1, 1];
        double rho = model.Schedule.Config.FrameCorrelation ?? 0;
        Tensor Prior()
        {
            var own = Drawn(all);
            return rho == 0 ? own : Math.Sqrt(rho) * Drawn(shared) + Math.Sqrt(1 - rho) * own;
        }

        var noise = Prior();
        if (settings.OffsetNoise > 0)
            noise = noise + settings.OffsetNoise * Drawn(perChannel);
        var added = settings.InputPerturbation > 0 ? noise + settings.InputPerturbation * Prior() : noise;
        int[] t = [.. clips.Select(_ => draw.Next(1000))];
        var text = cat([.. clips.Select(clip => model.EncodeText(draw.NextDouble() < settings.CaptionDropout ? "" : data.Caption(clip)))]);

        double[] alphaBar = AlphaBar(model.Schedule.Config.RescaleBetasZeroSnr == true);
        Tensor Each(Func<double, double> f) => tensor([.. t.Select(step => (float)f(alphaBar[step]))]).reshape(t.Length, 1, 1, 1, 1);
        var (a, s) = (Each(Math.Sqrt), Each(one => Math.Sqrt(1 - one)));
        string predicts = model.Schedule.Config.PredictionType;
        var target = predicts switch { "v_prediction" => a * noise - s * z0, "sample" => z0, _ => noise };
        weights = [.. t.Select(step => Weight(settings.LossWeighting, predicts, alphaBar[step]))];
        return (model.UNet.call(a * z0 + s * added, tensor(t, ScalarType.Int64), text) - target).square().mean([1, 2, 3, 4]);
    }

    private static double Weight(LossWeighting weighting, string predicts, double alphaBar)
    {
        double snr = alphaBar / (1 - alphaBar);
        return (weighting, predicts) switch
        {
            (LossWeighting.Uniform, _) or (LossWeighting.Velocity, "v_prediction") => 1,
            (LossWeighting.Velocity, "sample") => Math.Min(20, 1 / (1 - alphaBar)),
            (LossWeighting.Velocity, _) => Math.Min(20, 1 / alphaBar),
            (_, "v_prediction") => Math.Min(snr, 5) / (snr + 1),
            (_, "sample") => Math.Min(snr, 5),
            _ => Math.Min(snr, 5) / snr,
        };
    }

    /// <summary>Of Stable Diffusion's betas; where its last shall be 0, √ᾱ shifted and scaled (Lin et al. 2023, algorithm 1).</summary>
    private static double[] AlphaBar(bool zeroTerminal)
    {
        double product = 1;
        double[] alphaBar = [.. Enumerable.Range(0, 1000).Select(t => Math.Sqrt(0.00085) + (Math.Sqrt(0.012) - Math.Sqrt(0.00085)) * t / 999)
            .Select(root => product *= 1 - root * root)];
        double first = Math.Sqrt(alphaBar[0]), last = Math.Sqrt(alphaBar[^1]);
        return zeroTerminal ? [.. alphaBar.Select(one => Math.Pow((Math.Sqrt(one) - last) * first / (first - last), 2))] : alphaBar;
    }
}
