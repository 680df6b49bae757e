using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.Video;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Cli.Evaluation;

/// <summary>The denoising loss of clips at the middle of every tenth of the noise schedule, under noise that depends on the clip's place and the seed alone.</summary>
internal static class LossByTime
{
    public const int Bins = 10;

    private const int BatchSize = 5;

    /// <summary>The mean squared error of what the model predicts, by clip and bin.</summary>
    /// <param name="model">The model.</param>
    /// <param name="clips">Captions and clips of the model's size.</param>
    /// <param name="seed">Of the noise: two models with latents of one shape get the same.</param>
    /// <param name="done">Told of the clips measured.</param>
    public static double[][] Measure(TextToVideoModel model, IReadOnlyList<(string Caption, VideoClip Clip)> clips, long seed, Action<int> done)
    {
        using var _ = no_grad();
        var losses = new double[clips.Count][];
        for (int i = 0; i < clips.Count; i++)
        {
            using var scope = NewDisposeScope();
            using var data = new TrainingData(model);
            using var generator = new Generator((ulong)(seed + i), CPU);
            data.Add(clips[i].Caption, clips[i].Clip);
            var latents = data.Latents([0], generator);                                                              // [1, c, F, h, w]
            losses[i] = [.. Enumerable.Range(0, Bins).Select(bin => TimeOf(model, bin)).Chunk(BatchSize).SelectMany(t => Losses(model, clips[i].Caption, latents, t, generator))];
            done(i + 1);
        }
        return losses;
    }

    /// <summary>The time step of a bin.</summary>
    public static int TimeOf(TextToVideoModel model, int bin) => (2 * bin + 1) * model.Schedule.Steps / (2 * Bins);

    private static double[] Losses(TextToVideoModel model, string caption, Tensor latents, int[] t, Generator generator)
    {
        using var scope = NewDisposeScope();
        var clean = latents.expand(t.Length, -1, -1, -1, -1);
        var noise = randn(clean.shape, generator: generator).to(model.Device);
        var predicted = model.UNet.call(model.Schedule.AddNoise(clean, noise, t), tensor(t, ScalarType.Int64, device: model.Device),
            model.EncodeText([.. t.Select(_ => caption)]));
        var squares = (predicted.to(ScalarType.Float32) - model.Schedule.Target(clean, noise, t)).square().mean([1, 2, 3, 4]);
        return [.. squares.cpu().data<float>().Select(loss => (double)loss)];
    }
}
