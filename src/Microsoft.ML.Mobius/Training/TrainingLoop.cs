using System.Diagnostics;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Torch;
using TorchSharp;
using TorchSharp.Modules;
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
    private readonly TrainingRandom _random;

    private TrainingLoop(TextToVideoModel model, TrainingData data, TrainingSettings settings)
    {
        (_model, _data, _settings) = (model, data, settings);
        _random = new TrainingRandom(settings.Seed);
    }

    /// <summary>Trains; the model has the result when it returns: the trained weights, or their average where one is kept.</summary>
    /// <param name="model">Moved in place: the temporal half alone.</param>
    /// <param name="data">At least one clip.</param>
    /// <param name="settings">How.</param>
    /// <param name="progress">Called after every step.</param>
    /// <param name="say">Told what was saved and resumed.</param>
    /// <param name="warn">Told which checkpoints are damaged.</param>
    /// <param name="token">Stops between two steps, after a checkpoint where they are kept.</param>
    public static TrainingHistory Run(TextToVideoModel model, TrainingData data, TrainingSettings settings, Action<TrainingProgress>? progress = null,
        CancellationToken token = default, Action<string>? say = null, Action<string>? warn = null)
    {
        var loop = new TrainingLoop(model, data, settings);
        using var state = new TrainingState(model.UNet.Temporal, settings);
        Checkpoints? checkpoints = settings.Checkpoints is { } kept
            ? new Checkpoints(kept, RunIdentity.Of(model, data, settings), say ?? (_ => { }), warn ?? (_ => { })) : null;
        checkpoints?.Begin(state);
        return loop.Run(state, checkpoints, progress, token);
    }

    private TrainingHistory Run(TrainingState state, Checkpoints? checkpoints, Action<TrainingProgress>? progress, CancellationToken token)
    {
        int[] clips = [.. Enumerable.Range(0, _data.Count)];
        _random.Split().Shuffle(clips);
        int heldOutCount = Math.Min((int)Math.Round(_data.Count * _settings.HeldOutFraction), _data.Count - 1);
        using var heldOut = heldOutCount == 0 ? null : new HeldOutLoss(_model, _data, clips[..heldOutCount], _settings.Seed);
        var order = new ClipOrder(clips[heldOutCount..], _random);

        var clock = Stopwatch.StartNew();
        double before = state.Seconds, untimed = 0;
        int resumed = state.Step;
        void Save()
        {
            state.Seconds = before + clock.Elapsed.TotalSeconds;
            checkpoints?.Save(state);
        }

        void MeasureHeldOut()
        {
            int step = state.Step;
            bool isDue = step == 0 || step == _settings.Steps || (_settings.EvaluateEvery > 0 && step % _settings.EvaluateEvery == 0);
            if (heldOut is null || !isDue || (state.HeldOut is [.., var last] && last.Step == step))
                return;
            double begun = clock.Elapsed.TotalSeconds;
            state.AddHeldOut(Measure(heldOut, state, token));
            untimed += clock.Elapsed.TotalSeconds - begun;
        }

        try
        {
            MeasureHeldOut();
            while (state.Step < _settings.Steps)
            {
                token.ThrowIfCancellationRequested();
                double learningRate = _settings.LearningRateAt(state.Step + 1);
                using (NewDisposeScope())
                    state.Advance(Gradients(state, order), learningRate);
                double rate = (state.Step - resumed) / (clock.Elapsed.TotalSeconds - untimed);
                progress?.Invoke(new TrainingProgress(state.Step, _settings.Steps, state.Losses[^1].Loss, learningRate, rate,
                    TimeSpan.FromSeconds((_settings.Steps - state.Step) / rate), ProcessMemory.Peak()));
                MeasureHeldOut();
                if (state.Step == _settings.Steps || checkpoints?.IsDue(state.Step) == true)
                    Save();
            }
        }
        catch (OperationCanceledException)
        {
            Save();
            throw;
        }
        finally
        {
            _model.UNet.Temporal.eval();
            Forget(state.Parameters);                                                     // or a gradient would stay beside every weight
        }
        state.Average?.Swap();
        return new TrainingHistory(state.Losses, state.HeldOut, before + clock.Elapsed.TotalSeconds, ProcessMemory.Peak());
    }

    /// <summary>The held-out loss of what would be the result now.</summary>
    private double Measure(HeldOutLoss heldOut, TrainingState state, CancellationToken token)
    {
        _model.UNet.Temporal.eval();
        state.Average?.Swap();
        try
        {
            return heldOut.Measure(token);
        }
        finally
        {
            state.Average?.Swap();
        }
    }

    /// <summary>Gives the parameters the clipped gradients of the next step: the mean over its batches. Gives the loss, the mean over them, too.</summary>
    /// <remarks>
    /// The batches' gradients are summed here, in order, and not where libtorch keeps them: there the two halves of a batch add to what is
    /// there one after the other, in an order left to chance.
    /// </remarks>
    private double Gradients(TrainingState state, ClipOrder order)
    {
        _model.UNet.Temporal.train();
        int batches = _settings.GradientAccumulationSteps, step = state.Step + 1;
        var sums = new Tensor?[state.Parameters.Count];
        double loss = 0;
        for (long number = (long)state.Step * batches; number < (long)step * batches; number++)
        {
            Forget(state.Parameters);
            int[] clips = order.Batch(number, _settings.BatchSize);
            double one = Backward(clips, number);
            if (!double.IsFinite(one))
                throw new InvalidDataException($"The loss of step {step} is not finite. Clips of the batch: "
                    + string.Join(", ", clips.Select(i => $"{i} '{_data.Caption(i)}'")) + ". A lower learning rate may help.");
            loss += one / batches;
            using var _ = no_grad();
            foreach (var (i, parameter) in state.Parameters.Index())
                if (batches > 1 && parameter.grad is { } gradient)
                    sums[i] = sums[i] is { } sum ? gradient.add_(sum) : gradient;
        }
        nn.utils.clip_grad_norm_(state.Parameters, _settings.MaxGradientNorm);
        return loss;
    }

    private static void Forget(IEnumerable<Parameter> parameters)
    {
        foreach (var parameter in parameters)
            parameter.grad = null;
    }

    /// <summary>
    /// Adds to the gradients those of |ε - ε̂(√ᾱ z_0 + √(1 - ᾱ) ε, t, c)|², or of what else the model predicts, mean over everything, with each clip's
    /// weight; gives the mean without weights.
    /// </summary>
    /// <remarks>
    /// On the CPU the two halves of the batch run side by side. The order in which both add to a gradient is left to chance; a sum of two is the same
    /// either way, to the bit.
    /// </remarks>
    private double Backward(int[] clips, long number)
    {
        using var scope = NewDisposeScope();
        using var generator = _random.Noise(number);
        var random = _random.Batch(number);
        var latents = _data.Latents(clips, generator);                                    // [B, c, F, h, w]
        var noise = randn(latents.shape, generator: generator);
        if (_settings.OffsetNoise > 0)
            noise = WithOffset(noise, randn([.. noise.shape[..2], 1, 1, 1], generator: generator), _settings.OffsetNoise);
        noise = noise.to(_model.Device);
        int[] t = [.. clips.Select(_ => random.Next(_model.Schedule.Steps))];
        var text = _model.EncodeText([.. clips.Select(i => random.NextDouble() < _settings.CaptionDropout ? "" : _data.Caption(i))]);
        var (noisy, target) = (_model.Schedule.AddNoise(latents, noise, t), _model.Schedule.Target(latents, noise, t));
        var (steps, weights) = (tensor(t, ScalarType.Int64, device: _model.Device), tensor([.. t.Select(Weight)], device: _model.Device));

        double Part(Range part)
        {
            using var scope = NewDisposeScope();
            var predicted = _model.UNet.call(noisy[part], steps[part], text[part]);
            var squares = (predicted.to(ScalarType.Float32) - target[part]).square().flatten(1).mean([1]);
            (squares * weights[part]).sum().div(clips.Length * _settings.GradientAccumulationSteps).backward();
            return squares.sum().item<float>() / clips.Length;
        }

        if (_model.Device.type != DeviceType.CPU || clips.Length == 1)
            return Part(..);
        var (first, second) = SideBySide.Run(() => Part(..(clips.Length / 2)), () => Part((clips.Length / 2)..));
        return first + second;
    }

    /// <summary>ε + s o: every channel of a clip is a little brighter or darker in all its frames, or means would hardly be learnt (Guttenberg 2023).</summary>
    /// <param name="noise">ε, [B, c, F, h, w].</param>
    /// <param name="offset">o, standard normal, [B, c, 1, 1, 1].</param>
    /// <param name="strength">s.</param>
    internal static Tensor WithOffset(Tensor noise, Tensor offset, double strength) => noise + strength * offset;

    private float Weight(int t) => (float)(_settings.LossWeighting switch
    {
        LossWeighting.Velocity => _model.Schedule.VelocityWeight(t),
        LossWeighting.MinSnr => _model.Schedule.MinSnrWeight(t, gamma: 5),
        _ => 1,
    });
}
