using System.Diagnostics;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>
/// Fine-tunes the temporal half of a video model: one time step per clip, uniform; noise independent per frame; mean squared error of the
/// predicted noise; AdamW (method.md, section 2).
/// </summary>
internal sealed class TrainingLoop
{
    private readonly TextToVideoModel _model;
    private readonly TrainingData _data;
    private readonly TrainingSettings _settings;
    private readonly Generator _generator;
    private readonly Random _random;

    private TrainingLoop(TextToVideoModel model, TrainingData data, TrainingSettings settings)
    {
        (_model, _data, _settings) = (model, data, settings);
        _generator = new Generator((ulong)settings.Seed, CPU);
        _random = new Random(HashCodeOf(settings.Seed));
    }

    /// <summary>Trains; the model has the result when it returns.</summary>
    /// <param name="model">Moved in place: the temporal half alone.</param>
    /// <param name="data">At least one clip.</param>
    /// <param name="settings">How.</param>
    /// <param name="progress">Called after every step.</param>
    /// <param name="token">Stops between two steps.</param>
    public static TrainingHistory Run(
        TextToVideoModel model, TrainingData data, TrainingSettings settings, Action<TrainingProgress>? progress = null, CancellationToken token = default)
    {
        var loop = new TrainingLoop(model, data, settings);
        using (loop._generator)
            return loop.Run(progress, token);
    }

    private TrainingHistory Run(Action<TrainingProgress>? progress, CancellationToken token)
    {
        int[] order = [.. Enumerable.Range(0, _data.Count)];
        _random.Shuffle(order);
        int heldOutCount = Math.Min((int)Math.Round(_data.Count * _settings.HeldOutFraction), _data.Count - 1);
        int[] trained = order[heldOutCount..];
        using var heldOut = heldOutCount == 0 ? null : new HeldOutLoss(_model, _data, order[..heldOutCount], _settings.Seed);

        var parameters = _model.UNet.Temporal.parameters().ToList();
        using var optimizer = optim.AdamW(parameters, lr: _settings.LearningRate, weight_decay: _settings.WeightDecay);
        var losses = new List<LossPoint>();
        var heldOutLosses = new List<LossPoint>();
        var clock = Stopwatch.StartNew();
        void MeasureHeldOut(int step)
        {
            if (heldOut is not null)
                heldOutLosses.Add(new LossPoint(step, heldOut.Measure(token)));
        }

        MeasureHeldOut(0);
        double untimed = clock.Elapsed.TotalSeconds;
        var batches = Batches(trained).GetEnumerator();
        _model.UNet.Temporal.train();
        try
        {
            for (int step = 1; step <= _settings.Steps; step++)
            {
                token.ThrowIfCancellationRequested();
                batches.MoveNext();
                foreach (var group in optimizer.ParamGroups)
                    group.LearningRate = _settings.LearningRateAt(step);

                using (NewDisposeScope())
                {
                    optimizer.zero_grad();
                    double loss = Backward(batches.Current);
                    nn.utils.clip_grad_norm_(parameters, _settings.MaxGradientNorm);
                    if (!double.IsFinite(loss))
                        throw new InvalidDataException($"The loss of step {step} is not finite. Clips of the batch: "
                            + string.Join(", ", batches.Current.Select(i => $"{i} '{_data.Caption(i)}'")) + ". A lower learning rate may help.");
                    optimizer.step();
                    losses.Add(new LossPoint(step, loss));
                }

                double rate = step / (clock.Elapsed.TotalSeconds - untimed);
                progress?.Invoke(new TrainingProgress(step, _settings.Steps, losses[^1].Loss, _settings.LearningRateAt(step), rate,
                    TimeSpan.FromSeconds((_settings.Steps - step) / rate), ProcessMemory.Peak()));
                if (step == _settings.Steps || (_settings.EvaluateEvery > 0 && step % _settings.EvaluateEvery == 0))
                {
                    double before = clock.Elapsed.TotalSeconds;
                    _model.UNet.Temporal.eval();
                    MeasureHeldOut(step);
                    _model.UNet.Temporal.train();
                    untimed += clock.Elapsed.TotalSeconds - before;
                }
            }
        }
        finally
        {
            _model.UNet.Temporal.eval();
            foreach (var parameter in parameters)
                parameter.grad = null;                                                    // or one would stay beside every weight
        }
        return new TrainingHistory(losses, heldOutLosses, clock.Elapsed.TotalSeconds, ProcessMemory.Peak());
    }

    /// <summary>
    /// Adds to the gradients those of |ε - ε̂(√ᾱ z_0 + √(1 - ᾱ) ε, t, c)|², or of what else the model predicts, mean over everything, with each clip's
    /// weight; gives the mean without weights.
    /// </summary>
    /// <remarks>
    /// On the CPU the two halves of the batch run side by side. The order in which both add to a gradient is left to chance; a sum of two is the same
    /// either way, to the bit.
    /// </remarks>
    private double Backward(int[] clips)
    {
        var latents = _data.Latents(clips, _generator);                                   // [B, c, F, h, w]
        var noise = randn(latents.shape, generator: _generator).to(_model.Device);
        int[] t = [.. clips.Select(_ => _random.Next(_model.Schedule.Steps))];
        var text = _model.EncodeText([.. clips.Select(i => _random.NextDouble() < _settings.CaptionDropout ? "" : _data.Caption(i))]);
        var (noisy, target) = (_model.Schedule.AddNoise(latents, noise, t), _model.Schedule.Target(latents, noise, t));
        var (steps, weights) = (tensor(t, ScalarType.Int64, device: _model.Device), tensor([.. t.Select(Weight)], device: _model.Device));

        double Part(Range part)
        {
            using var scope = NewDisposeScope();
            var predicted = _model.UNet.call(noisy[part], steps[part], text[part]);
            var squares = (predicted.to(ScalarType.Float32) - target[part]).square().flatten(1).mean([1]);
            (squares * weights[part]).sum().div(clips.Length).backward();
            return squares.sum().item<float>() / clips.Length;
        }

        if (_model.Device.type != DeviceType.CPU || clips.Length == 1)
            return Part(..);
        var (first, second) = SideBySide.Run(() => Part(..(clips.Length / 2)), () => Part((clips.Length / 2)..));
        return first + second;
    }

    private float Weight(int t) => (float)(_settings.LossWeighting switch
    {
        LossWeighting.Velocity => _model.Schedule.VelocityWeight(t),
        LossWeighting.MinSnr => _model.Schedule.MinSnrWeight(t, gamma: 5),
        _ => 1,
    });

    /// <summary>Batches without end: every clip once per epoch, in a new order each time; a batch may run over into the next epoch.</summary>
    private IEnumerable<int[]> Batches(int[] clips)
    {
        var order = (int[])clips.Clone();
        int at = order.Length;
        while (true)
        {
            var batch = new int[_settings.BatchSize];
            for (int i = 0; i < batch.Length; i++)
            {
                if (at == order.Length)
                {
                    _random.Shuffle(order);
                    at = 0;
                }
                batch[i] = order[at++];
            }
            yield return batch;
        }
    }

    private static int HashCodeOf(long seed) => unchecked((int)seed ^ (int)(seed >> 32));
}
