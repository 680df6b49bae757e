using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.BaseModel;

/// <summary>Trains the autoencoder on drawings: |x - x'| + (x - x')² + a small KL term, with a cosine schedule.</summary>
internal static class AutoencoderTraining
{
    private const double KlWeight = 1e-4;

    public static AutoencoderKl Train(AutoencoderKlConfig config, ImageSource images, int cropSteps, int steps, double learningRate, Action<string> say)
    {
        var autoencoder = new AutoencoderKl(config);
        using var optimizer = optim.AdamW(autoencoder.parameters(), lr: learningRate, beta1: 0.9, beta2: 0.99, weight_decay: 0);
        var clock = System.Diagnostics.Stopwatch.StartNew();
        double recent = 0;
        var schedule = new TrainingSettings { Steps = steps, LearningRate = learningRate, WarmupSteps = 100 };
        for (int step = 1; step <= steps; step++)
        {
            using var scope = NewDisposeScope();
            double rate = schedule.LearningRateAt(step);
            foreach (var group in optimizer.ParamGroups)
                group.LearningRate = rate;

            // Most of the way on pieces of 32x32, a quarter of the cost; the rest on whole images, for attention and norms see them so in use.
            var x = step <= cropSteps ? images.NextCrops(32, 32) : images.Next(16);
            var (mean, logVariance) = autoencoder.Posterior(x);
            var z = mean + logVariance.mul(0.5).exp() * randn_like(mean);
            var error = autoencoder.DecodeUnscaled(z) - x;
            var squared = error.square().mean();
            var kl = (mean.square() + logVariance.exp() - 1 - logVariance).mean().mul(0.5);
            var loss = error.abs().mean() + squared + KlWeight * kl;

            optimizer.zero_grad();
            loss.backward();
            nn.utils.clip_grad_norm_(autoencoder.parameters(), 1.0);
            optimizer.step();

            recent = step == 1 ? squared.item<float>() : 0.98 * recent + 0.02 * squared.item<float>();
            if (step % 100 == 0 || step == 1)
                say($"autoencoder step {step}/{steps}  psnr {10 * Math.Log10(4 / recent):F2} dB  kl {kl.item<float>():F2}  {step / clock.Elapsed.TotalSeconds:F2} it/s");
        }
        return WithUnitLatents(autoencoder, images);
    }

    /// <summary>The same weights under the scaling factor that gives latents of deviation 1.</summary>
    private static AutoencoderKl WithUnitLatents(AutoencoderKl autoencoder, ImageSource images)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var latents = cat([.. Enumerable.Range(0, 16).Select(_ => autoencoder.Posterior(images.Next(32)).Mean)]);
        var scaled = new AutoencoderKl(autoencoder.Config() with { ScalingFactor = Math.Round(1 / latents.std().item<float>(), 4) });
        StateDict.Load(scaled, StateDict.Of(autoencoder).ToDictionary(), "autoencoder");
        return scaled;
    }

    /// <summary>
    /// Polishes the decoder for the mean of the posterior, which is what it decodes in use, on the squared error alone. The encoder is left as it is,
    /// so latents, and whatever was trained on them, stay valid.
    /// </summary>
    public static void PolishDecoder(AutoencoderKl autoencoder, ImageSource images, int steps, double learningRate, Action<string> say)
    {
        var parameters = autoencoder.named_parameters()
            .Where(p => p.name.StartsWith("decoder.", StringComparison.Ordinal) || p.name.StartsWith("post_quant_conv.", StringComparison.Ordinal))
            .Select(p => p.parameter).ToList();
        using var optimizer = optim.AdamW(parameters, lr: learningRate, beta1: 0.9, beta2: 0.99, weight_decay: 0);
        double recent = 0;
        var schedule = new TrainingSettings { Steps = steps, LearningRate = learningRate, WarmupSteps = 20 };
        for (int step = 1; step <= steps; step++)
        {
            using var scope = NewDisposeScope();
            foreach (var group in optimizer.ParamGroups)
                group.LearningRate = schedule.LearningRateAt(step);
            var x = images.Next(16);
            Tensor z;
            using (no_grad())
                z = autoencoder.Posterior(x).Mean;
            var loss = (autoencoder.DecodeUnscaled(z) - x).square().mean();
            optimizer.zero_grad();
            loss.backward();
            nn.utils.clip_grad_norm_(parameters, 1.0);
            optimizer.step();

            recent = step == 1 ? loss.item<float>() : 0.95 * recent + 0.05 * loss.item<float>();
            if (step % 50 == 0 || step == 1)
                say($"decoder step {step}/{steps}  psnr {10 * Math.Log10(4 / recent):F2} dB");
        }
    }
}
