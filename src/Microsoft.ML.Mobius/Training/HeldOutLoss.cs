using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>
/// The denoising loss on clips that are not trained on, under times and noise drawn once: the same (clip, t, noise) triples at every measurement, so
/// that two measurements differ by the model alone.
/// </summary>
internal sealed class HeldOutLoss : IDisposable
{
    /// <summary>Noise levels that are measured, the middle of each quarter of the schedule.</summary>
    public const int TimesPerClip = 4;

    private const int MaxBatchSize = 8, MaxClips = 32;

    private readonly TextToVideoModel _model;
    private readonly TrainingData _data;
    private readonly int _batchSize;
    private readonly List<(string Caption, (long, long, long) Shape, int T, Tensor Latents, Tensor Noise)> _triples = [];

    /// <param name="model">Measured.</param>
    /// <param name="data">Clips.</param>
    /// <param name="clips">Those of them that are not trained on.</param>
    /// <param name="seed">Of the noise.</param>
    /// <param name="batchSize">Clips per batch in training, at least 1: a measurement shall not take more memory than a step.</param>
    public HeldOutLoss(TextToVideoModel model, TrainingData data, IReadOnlyList<int> clips, long seed, int batchSize = MaxBatchSize)
    {
        (_model, _data, _batchSize) = (model, data, Math.Min(batchSize, MaxBatchSize));
        using var generator = new Generator((ulong)seed, CPU);
        foreach (int clip in clips.Take(MaxClips))
            for (int i = 0; i < TimesPerClip; i++)
            {
                // The middle of each quarter of the schedule: every noise level counts alike.
                int t = (2 * i + 1) * model.Schedule.Steps / (2 * TimesPerClip);
                using var scope = NewDisposeScope();
                var latents = data.Latents([clip], generator);
                var noise = model.Schedule.Prior(latents.shape, generator);
                _triples.Add((data.Caption(clip), data.Shape(clip), t, latents.DetachFromDisposeScope(), noise.DetachFromDisposeScope()));
            }
    }

    /// <summary>The loss, and that of each quarter of the schedule, from the one with the least noise on.</summary>
    /// <param name="token">Stops between two batches.</param>
    /// <param name="passed">Called between two batches.</param>
    public (double Loss, double[] ByTime) Measure(CancellationToken token, Action? passed = null)
    {
        using var _ = no_grad();
        using var all = NewDisposeScope();
        var batches = _triples.GroupBy(triple => triple.Shape).SelectMany(shape => shape.Chunk(_batchSize)).ToArray();
        var losses = new List<Tensor>();
        foreach (var batch in batches)
        {
            token.ThrowIfCancellationRequested();
            passed?.Invoke();
            using var scope = NewDisposeScope();
            int[] t = [.. batch.Select(triple => triple.T)];
            var noise = cat([.. batch.Select(triple => triple.Noise)]);
            var latents = cat([.. batch.Select(triple => triple.Latents)]);
            var z = _model.Schedule.AddNoise(latents, noise, t).OnDevice(_model.Device);
            var target = _model.Schedule.Target(latents, noise, t).OnDevice(_model.Device);
            var steps = tensor(t, ScalarType.Int64).OnDevice(_model.Device);
            var predicted = Predicted(z, steps, _data.Texts([.. batch.Select(triple => triple.Caption)])).to(ScalarType.Float32);
            losses.Add(nn.functional.mse_loss(predicted, target).reshape(1).MoveToOuterDisposeScope());
            losses.Add((predicted - target).square().flatten(1).mean([1]).MoveToOuterDisposeScope());
        }

        // A GPU is waited for here, once, and not batch by batch.
        var read = new Queue<float>(losses.Count == 0 ? [] : cat(losses).cpu().data<float>());
        double sum = 0;
        var byTime = new double[TimesPerClip];
        foreach (var batch in batches)
        {
            sum += read.Dequeue() * batch.Length;
            foreach (var triple in batch)
                byTime[triple.T * TimesPerClip / _model.Schedule.Steps] += read.Dequeue();
        }
        return (sum / _triples.Count, [.. byTime.Select(loss => loss * TimesPerClip / _triples.Count)]);
    }

    /// <summary>On the CPU the two halves of a batch side by side, as a step computes them.</summary>
    private Tensor Predicted(Tensor z, Tensor t, Tensor text)
    {
        Tensor Part(Range part) => _model.UNet.call(z[part], t[part], text[part]);

        int half = (int)z.shape[0] / 2;
        return _model.Device.type != DeviceType.CPU || half == 0 ? Part(..) : SideBySide.Joined(() => Part(..half), () => Part(half..));
    }

    public void Dispose()
    {
        foreach (var (_, _, _, latents, noise) in _triples)
        {
            latents.Dispose();
            noise.Dispose();
        }
    }
}
