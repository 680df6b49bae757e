using System.Diagnostics;
using System.Runtime.InteropServices;
using Microsoft.ML.Mobius.Distributed;
using Microsoft.ML.Mobius.Files;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Torch;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>
/// Fine-tunes the temporal half of a video model, or a LoRA on it or on its image model: one time step per clip, uniform; noise by the schedule's prior, as a rule
/// independent per frame; mean squared error of what the model predicts, the noise or the velocity; AdamW (method.md, section 2), or Adafactor.
/// </summary>
/// <remarks>
/// Several ranks (<see cref="ProcessGroup"/>) take the batches of a step in turn, those that one process would take one after the other, and all make the same step by the
/// sum of their gradients. Rank 0 alone measures, writes and shows.
/// </remarks>
internal sealed class TrainingLoop
{
    /// <summary>Steps after which weights must have moved, and steps in a row of which not all may be skipped.</summary>
    private const int Patience = 10;

    private const string LowerRate = "A lower learning rate may help.";

    private readonly TextToVideoModel _model;
    private readonly TrainingData _data;
    private readonly TrainingSettings _settings;
    private readonly TrainingRandom _random;
    private readonly Action<string> _say, _warn;
    private readonly Stopwatch _waiting = new();
    private readonly ProcessGroup _group = ProcessGroup.Current;
    private GradientBuckets? _buckets;
    private int _skipped;
    private bool _isEnding;
    private string _where = "";

    private TrainingLoop(TextToVideoModel model, TrainingData data, TrainingSettings settings, Action<string> say, Action<string> warn)
    {
        (_model, _data, _settings, _say, _warn) = (model, data, settings, say, warn);
        _random = new TrainingRandom(settings.Seed);
    }

    /// <summary>Tries the folders that a run writes to, before there is anything to lose.</summary>
    /// <exception cref="InvalidOperationException">There are checkpoints, and resuming was not asked for.</exception>
    /// <exception cref="IOException">A folder cannot be written to.</exception>
    public static void Prepare(TrainingSettings settings)
    {
        if (settings.Checkpoints is { } checkpoints)
            Training.Checkpoints.Prepare(checkpoints);
        if (settings.TensorBoardFolder is { } folder)
            WritableFolder.Make(folder, EventFile.Role);
    }

    /// <summary>Trains; the model has the result when it returns: the trained weights, or their average where one is kept.</summary>
    /// <param name="model">Moved in place: the temporal half alone, or the layers that a LoRA is on, into which it is merged in the end.</param>
    /// <param name="data">At least one clip.</param>
    /// <param name="settings">How.</param>
    /// <param name="progress">Called after every step.</param>
    /// <param name="say">Told what was saved and resumed.</param>
    /// <param name="warn">Told which checkpoints are damaged, which steps are skipped and which samples could not be made.</param>
    /// <param name="pictures">Shows how it goes; null for none.</param>
    /// <param name="token">Stops between two steps, after a checkpoint where they are kept.</param>
    /// <exception cref="InvalidDataException">A loss or gradient is not finite, and the step may not be skipped; or all checkpoints are damaged.</exception>
    /// <exception cref="InvalidOperationException">The weights do not move, or the checkpoints are another run's, or the device has too little memory for the largest batch.</exception>
    /// <exception cref="IOException">A checkpoint or the log cannot be written.</exception>
    public static TrainingHistory Run(TextToVideoModel model, TrainingData data, TrainingSettings settings, Action<TrainingProgress>? progress = null,
        CancellationToken token = default, Action<string>? say = null, Action<string>? warn = null, ITrainingPictures? pictures = null)
    {
        say ??= _ => { };
        warn ??= _ => { };
        var group = ProcessGroup.Current;
        int batches = Training.Checkpoints.BatchesPerStep(settings, group);
        settings = settings with { GradientAccumulationSteps = batches, UpdateInBackward = settings.UpdateInBackward && batches == 1 && group.IsAlone };
        if (settings.GradientAccumulationSteps % group.Size != 0)
            warn($"A step has {settings.GradientAccumulationSteps} batches for {group.Size} ranks: some have more to do than others, who wait.");
        using var lora = LoraOf(model, settings);
        using var state = lora is not null ? new TrainingState(lora, settings) : new TrainingState(model.UNet.Temporal, settings, model.UNet.Temporal.RateOf);
        var identity = settings.Checkpoints is not null || !group.IsAlone ? RunIdentity.Of(model, data, settings) : null;
        if (!group.IsAlone)
            group.Agree(RunIdentity.Disagreement(group, identity!));
        Checkpoints? checkpoints = settings.Checkpoints is { } kept && group.IsFirst ? new Checkpoints(kept, identity!, group.Size, say, warn) : null;
        checkpoints?.Begin(state);
        state.Share(group);
        using var events = settings.TensorBoardFolder is { } folder && group.IsFirst ? new EventFile(folder, state.Step) : null;
        try
        {
            (model.UNet.RecomputeActivations, model.UNet.SpatialFrameChunk) = (settings.RecomputeActivations, settings.SpatialFrameChunk);
            (model.UNet.KeptDepth, model.UNet.ReturnUnusedMemory) = (settings.KeptDepth, settings.ReturnUnusedMemory);
            HoldSpatialStream(settings.SpatialPrecision switch
            {
                SpatialPrecision.BFloat16 => ScalarType.BFloat16,
                SpatialPrecision.Float16 => ScalarType.Float16,
                _ => ScalarType.Float32,
            });
            model.UNet.FramesAreImages = settings.Lora is { OfImages: true };
            Require(model.UNet.Temporal, gradients: lora is null);
            var history = new TrainingLoop(model, data, settings, say, warn)
                .Run(state, checkpoints, events, group.IsFirst ? pictures : null, group.IsFirst ? progress : null, token);
            if (lora is not null)
                model.Merge(lora);
            return history;
        }
        finally
        {
            (model.UNet.RecomputeActivations, model.UNet.SpatialFrameChunk, model.UNet.FramesAreImages) = (false, 0, false);
            (model.UNet.KeptDepth, model.UNet.ReturnUnusedMemory) = (int.MaxValue, false);
            HoldSpatialStream(ScalarType.Float32);
            Require(model.UNet.Temporal, gradients: true);
        }

        void HoldSpatialStream(ScalarType type)
        {
            if (settings.SpatialPrecision != SpatialPrecision.Float32)
                model.UNet.HoldSpatialStream(type);
        }
    }

    private static TrainableLora? LoraOf(TextToVideoModel model, TrainingSettings settings)
    {
        if (settings.Lora is not { } lora)
            return null;
        using var generator = new TrainingRandom(settings.Seed).Lora();
        return new TrainableLora(lora.OfImages ? model.UNet.SpatialAttentions() : model.UNet.TemporalLinears(), lora.Rank, lora.Alpha, generator);
    }

    private static void Require(nn.Module module, bool gradients)
    {
        foreach (var parameter in module.parameters())
            parameter.requires_grad = gradients;
    }

    private TrainingHistory Run(
        TrainingState state, Checkpoints? checkpoints, EventFile? events, ITrainingPictures? pictures, Action<TrainingProgress>? progress,
        CancellationToken token)
    {
        var (heldOutClips, clips) = _data.Split(_settings.HeldOutFraction, _random);
        using var heldOut = heldOutClips.Length == 0 || !_group.IsFirst ? null : new HeldOutLoss(_model, _data, heldOutClips, _settings.Seed, _settings.BatchSize);
        var order = new ClipOrder([.. clips.GroupBy(_data.Shape).Select(shape => shape.ToArray())], _random);

        Stopwatch clock = Stopwatch.StartNew(), stepping = new();
        using var buckets = _buckets = _group.IsAlone ? null : new GradientBuckets(_group, state.Parameters);
        double before = state.Seconds;
        int resumed = state.Step;
        double[]? start = resumed == 0 ? state.Sums() : null;

        void Save()
        {
            state.Seconds = before + clock.Elapsed.TotalSeconds;
            checkpoints?.Save(state);
            CheckLockstep(state);                                                         // and wait till it is saved
        }

        try
        {
            if (_settings.TriesLargestBatch ?? _model.Device.type == DeviceType.CUDA)
                TryLargestBatch(state, order);
            if (resumed == 0)
                pictures?.ShowFirstBatch(_data, order.Batch(0, _settings.BatchSize));
            Here(() => MeasureHeldOut(heldOut, state, events, token));
            while (state.Step < _settings.Steps && !_group.Any(IsStalled(state)))
            {
                if (_group.Any(_isEnding || token.IsCancellationRequested))
                    throw new OperationCanceledException(token);
                double learningRate = _settings.LearningRateAt(state.Step + 1);
                stepping.Start();
                var made = Step(state, order, learningRate);
                stepping.Stop();
                if (made is (var loss, var norm))
                {
                    double rate = (state.Step - resumed) / stepping.Elapsed.TotalSeconds;
                    long memory = ProcessMemory.Peak();
                    events?.Add(state.Step, ("train/loss", loss), ("train/learning_rate", learningRate), ("train/gradient_norm", norm),
                        ("train/peak_memory_mib", memory / (double)(1 << 20)), ("train/waiting_share", _waiting.Elapsed / stepping.Elapsed));
                    Here(() => progress?.Invoke(new TrainingProgress(
                        state.Step, _settings.Steps, loss, learningRate, rate, TimeSpan.FromSeconds((_settings.Steps - state.Step) / rate), memory)));
                }
                if (state.Step == Patience && start is not null && state.Sums().SequenceEqual(start))
                {
                    _group.LeaveToFirst();
                    throw new InvalidOperationException(FormattableString.Invariant(
                        $"No weight has moved in {Patience} steps, the last at a learning rate of {learningRate:G3}: nothing would be learnt."));
                }
                Here(() =>
                {
                    MeasureHeldOut(heldOut, state, events, token);
                    MakeSamples(pictures, state, events);
                });
                if (_group.Any(state.Step == _settings.Steps || IsStalled(state) || checkpoints?.IsDue(state.Step) == true))
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
        if (state.Step < _settings.Steps)
            _say(FormattableString.Invariant(
                $"Stopped after step {state.Step}: the held-out loss has not fallen in {_settings.EarlyStopping} measurements."));
        if (state.Step > resumed)
            _say(FormattableString.Invariant($"The steps waited {_waiting.Elapsed / stepping.Elapsed:P2} of their time for clips."));
        state.Average?.Swap();
        state.ShareMeasured(_group);
        return new TrainingHistory(state.Losses, state.HeldOut, before + clock.Elapsed.TotalSeconds, ProcessMemory.Peak())
        {
            HeldOutByTime = state.HeldOutByTime,
        };
    }

    /// <summary>
    /// Does what rank 0 does alone, while the others wait. There it cannot end the training by itself, for the others are to end at the same step: it will be ended before
    /// the next.
    /// </summary>
    private void Here(Action work)
    {
        try
        {
            work();
        }
        catch (OperationCanceledException) when (!_group.IsAlone)
        {
            _isEnding = true;
        }
    }

    /// <exception cref="InvalidOperationException">The weights are not the same on all ranks.</exception>
    private void CheckLockstep(TrainingState state)
    {
        if (_group.IsAlone)
            return;
        double[] sums = _group.Gather(state.Sums().Sum());
        int other = Array.FindIndex(sums, sum => sum != sums[0]);
        if (other < 0)
            return;
        _group.LeaveToFirst();
        throw new InvalidOperationException($"After step {state.Step} the weights of rank {other} are not those of rank 0: its processor computes otherwise, or its memory is bad.");
    }

    /// <summary>Measures the held-out loss of what would be the result now, where that is due and not yet done.</summary>
    /// <exception cref="InvalidDataException">It is not finite.</exception>
    private void MeasureHeldOut(HeldOutLoss? heldOut, TrainingState state, EventFile? events, CancellationToken token)
    {
        int step = state.Step;
        bool isDue = step == 0 || step == _settings.Steps || (_settings.EvaluateEvery > 0 && step % _settings.EvaluateEvery == 0);
        if (heldOut is null || !isDue || (state.HeldOut is [.., var last] && last.Step == step))
            return;
        var (loss, byTime) = AsResult(state, () => heldOut.Measure(token, _group.Tell));
        if (!double.IsFinite(loss))
            throw new InvalidDataException($"The held-out loss after step {step} is not finite. {LowerRate}");
        state.AddHeldOut(loss, byTime);
        events?.Add(step, [("held-out/loss", loss), .. byTime.Select((one, i) => ($"held-out/loss_quarter_{i + 1}", one))]);
    }

    /// <summary>Whether the last measurements, as many as early stopping asks for, are all no better than the best before them.</summary>
    private bool IsStalled(TrainingState state) => _settings.EarlyStopping > 0 && state.HeldOut.Count > _settings.EarlyStopping
        && state.HeldOut.TakeLast(_settings.EarlyStopping).Min(point => point.Loss)
            >= state.HeldOut.SkipLast(_settings.EarlyStopping).Min(point => point.Loss);

    private void MakeSamples(ITrainingPictures? pictures, TrainingState state, EventFile? events)
    {
        if (pictures?.IsDue(state.Step) != true)
            return;
        try
        {
            byte[] png = AsResult(state, () => pictures.Sample(state.Step));
            events?.Add(state.Step, "samples", png);
        }
        catch (Exception e) when (e is IOException or InvalidDataException)
        {
            _warn($"Step {state.Step}: no samples were made. {e.Message}");
        }
    }

    /// <summary>Uses the model as it would be if training ended now; afterwards it is as before, to the bit.</summary>
    private T AsResult<T>(TrainingState state, Func<T> use)
    {
        _model.UNet.Temporal.eval();
        state.Average?.Swap();
        try
        {
            return use();
        }
        finally
        {
            state.Average?.Swap();
        }
    }

    /// <summary>
    /// Goes through the network and back with a batch of the largest shape: a step's memory is asked for at once, and what is too little is known before the first. Nothing is drawn,
    /// and no weight moves.
    /// </summary>
    /// <exception cref="InvalidOperationException">The device has too little.</exception>
    private void TryLargestBatch(TrainingState state, ClipOrder order)
    {
        using var scope = NewDisposeScope();
        int[] clips = order.Largest(_settings.BatchSize, clip => Values(_data.Shape(clip)));
        var latents = _data.Means(clips);
        if (_settings.Lora is { OfImages: true })
            latents = latents.narrow(2, 0, 1);
        bool Forgotten(Tensor loss)
        {
            Forget(state.Parameters);
            return true;
        }

        _model.UNet.Temporal.train();
        Forget(state.Parameters);
        try
        {
            if (_settings.GradientAccumulationSteps > _group.Size)
                _ = state.Parameters.Select(parameter => zeros_like(parameter)).ToArray();   // as many as the gradients of batches before
            Backward(latents, latents, new int[clips.Length], [.. clips.Select(_data.Caption)], passed: _settings.UpdateInBackward ? Forgotten : null);
        }
        catch (ExternalException e) when (e.Message.Contains("out of memory", StringComparison.Ordinal))
        {
            var (frames, height, width) = _data.Shape(clips[0]);
            throw new InvalidOperationException($"The largest batch, {clips.Length} clips of {frames} frames of {width * _model.Factor}x{height * _model.Factor} pixels, does not fit "
                + $"into the memory of {_model.Device}: a smaller BatchSize with more GradientAccumulationSteps takes less, and MemoryBudget tells what would fit. {e.Message}", e);
        }
        finally
        {
            Forget(state.Parameters);
        }

        static long Values((long Frames, long Height, long Width) shape) => shape.Frames * shape.Height * shape.Width;
    }

    /// <summary>Makes the next step; gives its loss and the norm of its gradient before clipping, or null if it was skipped.</summary>
    /// <exception cref="InvalidDataException">Loss or gradient are not finite, and the step may not be skipped.</exception>
    private (double Loss, double Norm)? Step(TrainingState state, ClipOrder order, double learningRate)
    {
        using var scope = NewDisposeScope();
        var update = _settings.UpdateInBackward ? new UpdateInBackward(state, learningRate) : null;
        var (loss, norm) = update is null ? Gradients(state, order) : Moved(state, order, update);
        if (double.IsFinite(loss) && double.IsFinite(norm))
        {
            _skipped = 0;
            state.Advance(loss, learningRate);
            return (loss, norm);
        }
        string problem = $"The {(double.IsFinite(loss) ? "gradient" : "loss")} of step {state.Step + 1} is not finite{_where}. Clips of the step: "
            + string.Join(", ", Batches(state.Step + 1).SelectMany(number => order.Batch(number, _settings.BatchSize)).Distinct()
                .Select(i => $"{i} '{_data.Caption(i)}'")) + "."
            + (update is { Moved: > 0 } ? $" {update.Moved} of {state.Parameters.Count} trained tensors, whose gradients came before it and were finite, have moved." : "");
        if (_settings.NonFiniteStep == NonFiniteStep.Stop || _skipped + 1 == Patience)
            _group.LeaveToFirst();
        if (_settings.NonFiniteStep == NonFiniteStep.Stop)
            throw new InvalidDataException($"{problem} {LowerRate}");
        if (++_skipped == Patience)
            throw new InvalidDataException($"{problem} So were the {Patience - 1} before. {LowerRate}");
        _warn($"{problem} It is skipped.");
        state.Skip();
        return null;
    }

    /// <summary>The numbers of a step's batches.</summary>
    private IEnumerable<long> Batches(int step)
    {
        long batches = _settings.GradientAccumulationSteps;
        for (long number = (step - 1) * batches; number < step * batches; number++)
            yield return number;
    }

    /// <summary>
    /// Gives the parameters the clipped gradients of the next step: the mean over its batches. Gives the loss, the mean over them, and the norm
    /// before clipping, too.
    /// </summary>
    /// <remarks>
    /// The batches' gradients are summed here, in order, and not where libtorch keeps them: there the two halves of a batch add to what is
    /// there one after the other, in an order left to chance. A GPU is waited for once, when all its work has been handed to it: loss and norm are read together.
    /// </remarks>
    private (double Loss, double Norm) Gradients(TrainingState state, ClipOrder order)
    {
        _model.UNet.Temporal.train();
        var sums = new Tensor?[state.Parameters.Count];
        var loss = zeros([], ScalarType.Float64, _model.Device);
        long[] batches = [.. Batches(state.Step + 1).Where((_, i) => i % _group.Size == _group.Rank)];
        Forget(state.Parameters);
        _buckets?.Begin(sums);
        foreach (long number in batches)
        {
            var buckets = number == batches[^1] ? _buckets : null;
            Forget(state.Parameters);
            loss += Backward(order.Batch(number, _settings.BatchSize), number, buckets) / _settings.GradientAccumulationSteps;
            using var _ = no_grad();
            foreach (var (i, parameter) in state.Parameters.Index())
                if (_settings.GradientAccumulationSteps > 1 && buckets is null && parameter.grad is { } gradient)
                    sums[i] = sums[i] is { } sum ? gradient.add_(sum) : gradient;         // the last batch's gradient ends as the sum of all
        }
        _buckets?.End();
        var norm = _settings.Optimizer == OptimizerKind.AdamW ? GradientNorm.Clip(state.Parameters, _settings.MaxGradientNorm)
            : GradientNorm.Of(state.Parameters);                                          // Adafactor limits what it moves, whatever the gradient's norm
        double[] read = [.. stack([loss, norm.to(ScalarType.Float64).to(_model.Device)]).cpu().data<double>()];
        return (_buckets is null ? read[0] : Summed(_buckets, read[0]), read[1]);
    }

    /// <summary>The sum of all ranks' losses.</summary>
    private double Summed(GradientBuckets buckets, double loss)
    {
        double[] losses = _group.Gather(loss), gradients = _group.Gather(buckets.IsFinite ? 0 : double.NaN);
        int rank = Array.FindIndex([.. losses.Zip(gradients, (one, other) => one + other)], sum => !double.IsFinite(sum));
        _where = rank < 0 ? "" : $" on rank {rank}";
        return losses.Sum();
    }

    /// <summary>Makes the next step part by part of the network. Gives the loss and the norm of the gradient as far as it was made.</summary>
    /// <remarks>
    /// The loss is known before the first weight moves: if it is not finite, none does. If a gradient is not, which can only be found on the way back, no further one does.
    /// Those that have moved have done so by finite gradients, each tensor by no more than the learning rate: the weights stay sound, but the step is not whole.
    /// </remarks>
    private (double Loss, double Norm) Moved(TrainingState state, ClipOrder order, UpdateInBackward update)
    {
        _model.UNet.Temporal.train();
        Forget(state.Parameters);
        long number = Batches(state.Step + 1).Single();
        double? read = null;
        double Loss(Tensor loss) => read ??= loss.item<double>();
        var loss = Backward(order.Batch(number, _settings.BatchSize), number, passed: loss => double.IsFinite(Loss(loss)) && update.Take());
        update.End();
        return (Loss(loss), update.Norm);
    }

    private static void Forget(IEnumerable<Parameter> parameters)
    {
        foreach (var parameter in parameters)
            parameter.grad = null;
    }

    /// <summary>
    /// Adds to the gradients those of |ε - ε̂(√ᾱ z_0 + √(1 - ᾱ) ε, t, c)|², or of what else the model predicts, mean over everything, with each clip's
    /// weight; gives the mean without weights. What is drawn is made on the CPU; the device is given z_t, the target, t and c.
    /// </summary>
    private Tensor Backward(int[] clips, long number, GradientBuckets? buckets = null, Func<Tensor, bool>? passed = null)
    {
        using var scope = NewDisposeScope();
        using var generator = _random.Noise(number);
        var random = _random.Batch(number);
        _waiting.Start();
        var latents = _data.Latents(clips, generator);                                    // [B, c, F, h, w]
        _waiting.Stop();
        if (_settings.Lora is { OfImages: true } || (_settings.ImageShare > 0 && random.NextDouble() < _settings.ImageShare))
            latents = OneFrame(latents, random);
        var noise = _model.Schedule.Prior(latents.shape, generator);
        if (_settings.OffsetNoise > 0)
            noise = Perturbed(noise, randn([.. noise.shape[..2], 1, 1, 1], generator: generator), _settings.OffsetNoise);
        var input = _settings.InputPerturbation > 0 ? Perturbed(noise, _model.Schedule.Prior(noise.shape, generator), _settings.InputPerturbation) : noise;
        int[] t = [.. clips.Select(_ => random.Next(_model.Schedule.Steps))];
        string[] captions = [.. clips.Select(i => random.NextDouble() < _settings.CaptionDropout ? "" : _data.Caption(i))];
        return Backward(_model.Schedule.AddNoise(latents, input, t), _model.Schedule.Target(latents, noise, t), t, captions, buckets, passed).MoveToOuterDisposeScope();
    }

    /// <remarks>
    /// On the CPU the two halves of the batch run side by side. The order in which both add to a gradient is left to chance; a sum of two is the same
    /// either way, to the bit. Where somebody wants to know of each part of the network, there is one way for the whole batch.
    /// </remarks>
    /// <param name="noisy">z_t, [B, c, F, h, w], on the CPU.</param>
    /// <param name="target">What is to be predicted of it.</param>
    /// <param name="t">One per clip.</param>
    /// <param name="captions">One per clip.</param>
    /// <param name="buckets">Take the gradients part by part; null for none.</param>
    /// <param name="passed">Called with the loss whenever a part of the network has its gradients; gives whether to go on.</param>
    /// <returns>The loss, [] float64; belongs to the caller's scope.</returns>
    private Tensor Backward(Tensor noisy, Tensor target, int[] t, string[] captions, GradientBuckets? buckets = null, Func<Tensor, bool>? passed = null)
    {
        using var scope = NewDisposeScope();
        var device = _model.Device;
        (noisy, target) = (noisy.OnDevice(device), target.OnDevice(device));
        var (steps, weights, text) = (tensor(t, ScalarType.Int64).OnDevice(device), tensor([.. t.Select(Weight)]).OnDevice(device), _data.Texts(captions));

        Tensor Part(Range part, int way = 0)
        {
            using var scope = NewDisposeScope();
            Tensor? loss = null;
            _model.UNet.Backward(noisy[part], steps[part], text[part], predicted =>
            {
                var squares = (predicted.to(ScalarType.Float32) - target[part]).square().flatten(1).mean([1]);
                loss = squares.detach().sum().div(t.Length).to(ScalarType.Float64).MoveToOuterDisposeScope();
                return (squares * weights[part]).sum().div(t.Length * _settings.GradientAccumulationSteps);
            }, passed is not null ? () => passed(loss!) : buckets is not null ? () => buckets.Pass(way) : null);
            return loss!.MoveToOuterDisposeScope();
        }

        if (device.type != DeviceType.CPU || t.Length == 1 || passed is not null)
            return Part(..).MoveToOuterDisposeScope();
        buckets?.Expect(ways: 2);
        var (first, second) = SideBySide.Run(() => Part(..(t.Length / 2), 0), () => Part((t.Length / 2).., 1));
        using (second)                                                                    // no scope of the other thread has it
            return (first + second).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// ε + s η. With one η per clip and channel every channel is a little brighter or darker in all frames, or means would hardly be learnt
    /// (Guttenberg 2023, offset noise). With η as ε, and ε the target, the model is made to bear its own errors (Ning et al. 2023, arXiv 2301.11706).
    /// </summary>
    /// <param name="noise">ε, [B, c, F, h, w].</param>
    /// <param name="further">η, standard normal, [B, c, 1, 1, 1] or as ε.</param>
    /// <param name="strength">s.</param>
    internal static Tensor Perturbed(Tensor noise, Tensor further, double strength) => noise + strength * further;

    /// <summary>A frame of each clip, [B, c, 1, h, w].</summary>
    private static Tensor OneFrame(Tensor latents, Random random)
        => stack([.. Enumerable.Range(0, (int)latents.shape[0]).Select(clip => latents[clip].narrow(1, random.Next((int)latents.shape[2]), 1))]);

    private float Weight(int t) => (float)(_settings.LossWeighting switch
    {
        LossWeighting.Velocity => _model.Schedule.VelocityWeight(t),
        LossWeighting.MinSnr => _model.Schedule.MinSnrWeight(t, gamma: 5),
        _ => 1,
    });
}
