using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.Json;
using Microsoft.ML.Data;
using Microsoft.ML.Mobius.Distributed;
using Microsoft.ML.Mobius.Files;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Sampling;
using Microsoft.ML.Mobius.Torch;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Video;
using Microsoft.ML.Mobius.Weights;
using Microsoft.ML.Runtime;

namespace Microsoft.ML.Mobius;

/// <summary>Fine-tunes a pretrained image or video model, or the one that this assembly carries, into a text-to-video model, on captions and clips.</summary>
/// <remarks>
/// Fitting reads the data once, in order, keeps each clip as its latents, and trains the temporal half of the U-Net; what was learnt of
/// images stays as it is. Or it trains a LoRA: see <see cref="Options.TrainedPart"/>. It computes on the CPU, or on the GPU of <see cref="MLContext.GpuDeviceId"/>. Messages go to
/// <see cref="MLContext.Log"/>.
/// <para>
/// Started by mpirun, as several ranks, all of which make the same trainer and fit it to the same data, it trains with all of them: a step has
/// <see cref="Options.GradientAccumulationSteps"/> batches for each rank. Each rank computes on a GPU of its own, from <see cref="MLContext.GpuDeviceId"/> on. Rank 0 writes,
/// measures and reports. What fails on one rank ends them all, with a message that names it.
/// </para>
/// </remarks>
/// <seealso cref="TextToVideoCatalog.TextToVideo(TransformsCatalog, Options)"/>
public sealed partial class TextToVideoTrainer : IEstimator<TextToVideoTransformer>
{
    /// <summary>Of the least memory that recomputing takes, how much it may take so as to compute less.</summary>
    private const double KeptShare = 1.2;

    private readonly IHost _host;
    private readonly Options _options;
    private readonly PretrainedModel _base;

    internal TextToVideoTrainer(IHostEnvironment env, Options options, PretrainedModel? start = null)
    {
        _host = Contracts.CheckRef(env, nameof(env)).Register(nameof(TextToVideoTrainer));
        _host.CheckValue(options, nameof(options));
        try
        {
            _base = start ?? (options.ModelPath is { } path ? PretrainedModel.From(path, options.TokenizerPath) : PretrainedModel.Embedded());
        }
        catch (Exception e) when (e is IOException or InvalidDataException && options.Problems() is { Count: > 0 } further)
        {
            throw Options.Refusal([.. further, e.Message]);
        }
        _options = options.For(_base);
        string[] problems = [.. _options.Problems(_base.Factor), .. _options.MissingFiles(), .. LoraWithoutWeights()];
        if (problems.Length > 0)
            throw Options.Refusal(problems);
    }

    /// <summary>Trains on the clips of the data.</summary>
    /// <param name="input">The data; with <see cref="Options.Steps"/> = 0 its columns alone matter.</param>
    /// <returns>The transformer that generates videos. Dispose it to free the model's memory.</returns>
    /// <exception cref="ArgumentOutOfRangeException">A column is missing or of another type than expected.</exception>
    /// <exception cref="ArgumentException">The sampler cannot do what the model's scheduler_config.json asks for, or not in so many steps; or training does not fit
    /// <see cref="Options.MemoryBudget"/>, and the message says what would; or <see cref="Options.SpatialPrecision"/> is Float16 on the CPU.</exception>
    /// <exception cref="InvalidDataException">A caption is empty, or a clip is missing, unreadable, of another size, or too short and
    /// refused for it; the message names the row. Or a file of the options, or every checkpoint to resume from, is damaged, or a loss or gradient is not
    /// finite.</exception>
    /// <exception cref="FileNotFoundException">A file of the options is missing.</exception>
    /// <exception cref="WeightMismatchException">The pretrained model's weights are not those that its configs describe, or the motion modules or a LoRA
    /// were made for another model.</exception>
    /// <exception cref="InvalidOperationException">The data has no rows, there is no ffmpeg, the GPU that was asked for is not there,
    /// <see cref="Options.CheckpointFolder"/> has checkpoints of another run, that folder or <see cref="Options.TrainingFolder"/> is in use by one, or no weight
    /// moves, or the GPU has too little memory for the largest batch.</exception>
    /// <exception cref="IOException">Checkpoints, cached latents, the first batch, the log or TensorBoard's files cannot be written, or the disk has too little space for them.</exception>
    /// <exception cref="OperationCanceledException"><see cref="Options.CancellationToken"/> or the MLContext was cancelled. The step was finished, and a
    /// checkpoint written where they are kept.</exception>
    public TextToVideoTransformer Fit(IDataView input)
    {
        _host.CheckValue(input, nameof(input));
        GetOutputSchema(SchemaShape.Create(input.Schema));
        var group = _options.Steps > 0 ? ProcessGroup.Current : ProcessGroup.Alone;
        using var channel = new LoggedChannel(_host.Start("Training"), _options.Steps > 0 ? _options.LogFile : null, group);
        return group.Guard(() => Fitted(input, group, channel));
    }

    private TextToVideoTransformer Fitted(IDataView input, ProcessGroup group, LoggedChannel channel)
    {
        CheckAlive();
        var environment = (IHostEnvironmentInternal)_host;
        long seed = _options.Seed ?? environment.Seed ?? 0;
        Agree(group, seed);
        var device = DeviceChoice.Resolve(environment.GpuDeviceId, environment.FallbackToCpu, channel.Warning, group.LocalRank);
        if (_options is { Steps: > 0, SpatialPrecision: SpatialPrecision.Float16 } && device.type == TorchSharp.DeviceType.CPU)
            throw _host.ExceptUserArg(nameof(Options.SpatialPrecision), "SpatialPrecision is Float16, which is for a GPU alone: on the CPU, Float32 and BFloat16 are possible.");
        using var tf32 = Tf32.Allow(_options.AllowTf32, device.type);
        if (_options.Steps > 0 && (input.Schema[_options.ClipColumnName].Type is TextDataViewType || _options.MakesSamples))
            VideoReader.CheckFfmpeg();
        using var training = group.IsFirst ? Lock(_options.TrainingFolder, "The training folder") : null;
        using var checkpoints = _options.CheckpointFolder == _options.TrainingFolder || !group.IsFirst ? null : Lock(_options.CheckpointFolder, "The folder of checkpoints");
        if (_options.Steps > 0 && group.IsFirst)
        {
            TrainingLoop.Prepare(_options.Training(seed));
            if (_options.SanityFolder is { } sanity)
                WritableFolder.Make(sanity, "The folder of the first batch's pictures");
            if (_options.SampleFolder is { } samples)
                WritableFolder.Make(samples, "The folder of samples");
        }
        if (_options is { Steps: > 0, TrainingFolder: { } folder } && group.IsFirst)
            _options.Write(Path.Combine(folder, "options.json"));

        using var motion = _options.MotionModulePath is { } path ? MotionModules.Open(path) : null;
        if (_options is { Steps: > 0, MemoryBudget: { } budget } && OverBudget(Architecture(motion), budget) is { } tooMuch)
            throw _host.ExceptUserArg(nameof(Options.MemoryBudget), tooMuch);
        int longest = Math.Max(_options.FrameCount!.Value, _options.Shapes(_base.Factor).Longest);
        if (motion?.Config.FrameLimit < longest)
            throw _host.ExceptUserArg(nameof(Options.FrameCount), $"{motion.Name} has places for {motion.Config.FrameLimit} frames, not for {longest}.");
        var image = _base.Open();
        var model = TextToVideoModel.From(image, _options.Architecture(image.UNetConfig), seed, motion);
        try
        {
            if (SamplerChoice.Problem(_options.Sampler, model.Schedule, _options.SamplingSteps) is { } problem)
                throw _host.ExceptUserArg(nameof(Options.Sampler), problem);
            foreach (var (file, scale) in _options.Loras)
                Report(model.ApplyLora(file, scale, forGood: true), channel);
            if (_options.FrameNoiseCorrelation is { } correlation)
                model.CorrelateFrames(correlation);
            model.Predict(_options.PredictionType?.InConfig(), _options.ZeroTerminalSnr);
            model.To(device);
            Tell(model.Loaded, channel);
            channel.Info(FormattableString.Invariant(
                $"{_options.Layout}: {model.ParameterCount:N0} parameters, {Trained(model)}, on {device}."));
            var history = _options.Steps == 0 ? TrainingHistory.Empty : Train(model, input, seed, group, channel);
            return new TextToVideoTransformer(_host, model, history, _options.Generation(seed),
                _options.InputColumnName, _options.OutputColumnName, _options.NegativePromptColumnName, _options.SeedColumnName, _options.SourceColumnName);
        }
        catch (Exception e)
        {
            channel.KeepEnd(e);
            model.Dispose();
            throw;
        }
    }

    /// <summary>Refuses ranks that would not train the same; the clips and the weights are looked at when they are there.</summary>
    private void Agree(ProcessGroup group, long seed)
    {
        if (group.IsAlone)
            return;
        if (_options.UpdateInBackward == true)
        {
            group.LeaveToFirst();
            throw _host.ExceptUserArg(nameof(Options.UpdateInBackward), $"UpdateInBackward is for one process: {group.Size} must sum their gradients before a weight moves.");
        }
        var here = JsonSerializer.SerializeToNode(_options, Options.Json)!.AsObject().ToDictionary(option => option.Key, option => option.Value?.ToJsonString() ?? "null");
        here["the seed"] = $"{seed}";
        here["the build of Microsoft.ML.Mobius"] = $"{typeof(TextToVideoTrainer).Module.ModuleVersionId}";
        here["TorchSharp"] = $"{typeof(TorchSharp.torch).Assembly.GetName().Version}";
        here[".NET"] = RuntimeInformation.FrameworkDescription;
        here["the kind of processor"] = $"{RuntimeInformation.ProcessArchitecture}";
        group.Agree(RunIdentity.Disagreement(group, here));
    }

    /// <summary>
    /// The memory that training will take with these options: that of the device where the MLContext names a GPU, else that of the process beyond what it has now.
    /// </summary>
    /// <returns>The peak and its parts, counted from the model's configs: no weight is read.</returns>
    /// <exception cref="IOException">A file of the options cannot be read.</exception>
    /// <exception cref="InvalidDataException">A file of the options is damaged.</exception>
    public MemoryEstimate EstimateMemory()
    {
        using var motion = _options.MotionModulePath is { } path ? MotionModules.Open(path) : null;
        return Estimate(Architecture(motion));
    }

    private static ModelArchitecture ArchitectureOf(TextToVideoModel model) => new(model.TextEncoder.Config, model.Autoencoder.Config(), model.UNet.Config);

    /// <summary>That of the video model, known before it is opened.</summary>
    private ModelArchitecture Architecture(MotionModules? motion)
    {
        var parts = _base.Architecture();
        var config = _options.Architecture(parts.UNet);
        return parts with { UNet = motion is null ? config : config with { Motion = motion.Config } };
    }

    private MemoryEstimate Estimate(ModelArchitecture model) => Estimate(model, Footprint(model));

    private MemoryEstimate Estimate(ModelArchitecture model, TrainingFootprint unet)
    {
        var (ofKept, ofRecomputed) = MemoryEstimate.Takes(onCpu: ((IHostEnvironmentInternal)_host).GpuDeviceId is null, unet.ReturnsUnused, unet.UpdatesInBackward);
        long earlier = _options.GradientAccumulationSteps > 1 || !ProcessGroup.IsStartedAlone ? unet.Trained : 0;
        return new MemoryEstimate(model.TextEncoder.ParameterCount() + model.Autoencoder.ParameterCount() + unet.Frozen, unet.Trained, unet.LargestTrained,
            unet.Activations, unet.Peak(earlier, ofKept, ofRecomputed), _options.EmaDecay > 0, _options.Optimizer, unet.Gradients, unet.Narrow);
    }

    /// <summary>What the video U-Net takes, recomputed where that was asked for, or fits the budget alone, or is worth it and changes nothing.</summary>
    private TrainingFootprint Footprint(ModelArchitecture model)
    {
        bool images = _options.TrainedPart == TrainedPart.SpatialLora;
        int frames = images ? 1 : Math.Max(_options.FrameCount!.Value, _options.Shapes(_base.Factor).Longest);
        TrainingFootprint With(bool recompute, int keptDepth = int.MaxValue) => new(model.UNet, _options.BatchSize, frames,
            _options.Height!.Value / _base.Factor, _options.Width!.Value / _base.Factor, model.TextEncoder.MaxPositionEmbeddings, recompute,
            _options.TrainedPart == TrainedPart.Temporal ? 0 : _options.Rank, images, halves: _options.SpatialPrecision != SpatialPrecision.Float32)
        {
            KeptDepth = keptDepth,
            UpdatesInBackward = _options.UpdateInBackward
                ?? (recompute && _options is { Optimizer: OptimizerKind.Adafactor, GradientAccumulationSteps: 1 } && ProcessGroup.IsStartedAlone),
        };

        if (images)
            return With(recompute: false);
        if (_options.RecomputeActivations is { } asked)
            return With(asked);
        var (kept, least) = (With(recompute: false), With(recompute: true));
        var some = model.UNet.Layout == UNetLayout.StreamParallel ? Enumerable.Range(0, model.UNet.LevelCount).Select(depth => With(recompute: true, depth)) : [];
        if (_options.MemoryBudget is { } budget)
            return some.Prepend(kept).FirstOrDefault(one => Fits(Estimate(model, one), budget)) ?? least;
        if (model.UNet.Layout != UNetLayout.StreamParallel || !kept.ReturnsUnused)
            return kept;
        double limit = Estimate(model, least).PeakBytes * KeptShare;
        return some.FirstOrDefault(one => Estimate(model, one).PeakBytes <= limit) ?? least;
    }

    /// <summary>The columns that the transformer will give for such an input.</summary>
    /// <param name="inputSchema">The input's columns.</param>
    /// <returns>The input's columns and the video column.</returns>
    /// <exception cref="ArgumentOutOfRangeException">A column is missing or of another type than expected.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema)
    {
        _host.CheckValue(inputSchema, nameof(inputSchema));
        Check(inputSchema, _options.InputColumnName, "input", "Text", type => type is TextDataViewType);
        if (_options.Steps > 0)
            Check(inputSchema, _options.ClipColumnName, "clip", "Text or Video", type => type is TextDataViewType or VideoDataViewType);
        if (_options.NegativePromptColumnName is { } negativePrompts)
            Check(inputSchema, negativePrompts, "negative prompt", "Text", type => type is TextDataViewType);
        if (_options.SeedColumnName is { } seeds)
            Check(inputSchema, seeds, "seed", "Int64", type => type == NumberDataViewType.Int64);
        if (_options.SourceColumnName is { } sources)
            Check(inputSchema, sources, "source", "Video", type => type is VideoDataViewType);

        var columns = inputSchema.ToDictionary(column => column.Name);
        columns[_options.OutputColumnName] = new SchemaShape.Column(_options.OutputColumnName, SchemaShape.Column.VectorKind.Scalar,
            new VideoDataViewType(_options.Reading.FrameCount, _options.Reading.Height, _options.Reading.Width), isKey: false);
        return new SchemaShape(columns.Values);
    }

    private void Check(SchemaShape schema, string name, string role, string expected, Func<DataViewType, bool> fits)
    {
        if (!schema.TryFindColumn(name, out var column))
            throw _host.ExceptSchemaMismatch("inputSchema", role, name);
        if (column.Kind != SchemaShape.Column.VectorKind.Scalar || column.IsKey || !fits(column.ItemType))
            throw _host.ExceptSchemaMismatch("inputSchema", role, name, expected, column.GetTypeString());
    }

    private TrainingHistory Train(TextToVideoModel model, IDataView input, long seed, ProcessGroup group, IChannel channel)
    {
        var clock = Stopwatch.StartNew();
        using var data = new TrainingData(model);
        var architecture = ArchitectureOf(model);
        var footprint = Footprint(architecture);
        channel.Info($"Training takes {Estimate(architecture, footprint)}.");
        if (model.Device.type == TorchSharp.DeviceType.CPU && OneDnnFix.Notice is { } notice)
            channel.Info(notice);
        if (_options.MemoryBudget is { } budget)
            channel.Info($"MemoryBudget is {InMebibytes(budget)}: activations are {(!footprint.Recomputes ? "kept" : footprint.KeptDepth == int.MaxValue ? "recomputed" : "recomputed in part")}.");
        ReadClips(data, model, input, group, channel);
        TimeSpan reading = clock.Elapsed;

        IReadOnlyList<string> prompts = _options.SamplePrompts is [] ? [.. Enumerable.Range(0, data.Count).Select(data.Caption).Distinct().Take(4)]
            : _options.SamplePrompts;
        var pictures = new TrainingPictures(model, _options, _options.Generation(seed), prompts, () =>
        {
            CheckAlive();
            group.Tell();
        });
        pictures.PutEncodersAside();
        using var progress = _host.StartProgressChannel("Training");
        TrainingProgress? last = null;
        progress.SetHeader(new ProgressHeader(["Loss", "Learning rate"], ["steps"]), entry =>
        {
            if (last is not { } at)
                return;
            entry.SetProgress(0, at.Step, at.Steps);
            entry.SetMetric(0, at.Loss);
            entry.SetMetric(1, at.LearningRate);
        });
        var history = TrainingLoop.Run(model, data, _options.Training(seed, footprint), at =>
        {
            if (last is null)
                channel.Info(FormattableString.Invariant(
                    $"Step {at.Step} is done after {clock.Elapsed.TotalSeconds:F1} s, {reading.TotalSeconds:F1} s of which went into the clips."));
            last = at;
            if (_options.EvaluateEvery > 0 && at.Step % _options.EvaluateEvery == 0)
                channel.Info(FormattableString.Invariant(
                    $"Step {at.Step} of {at.Steps}: loss {at.Loss:F4}, {at.StepsPerSecond:F2} steps/s, {at.Remaining:hh\\:mm\\:ss} to go."));
            _options.Progress?.Report(at);
            CheckAlive();
        }, _options.CancellationToken, message => channel.Info(message), message => channel.Warning(message), pictures);

        model.PutEncoders(model.Device);
        if (history.HeldOut is [var first, .., var final])
            channel.Info(FormattableString.Invariant($"Held-out loss: {first.Loss:F4} before training, {final.Loss:F4} after."));
        channel.Info(FormattableString.Invariant($"{history.Seconds:F1} s, peak memory {history.PeakMemoryBytes / (double)(1 << 20):F0} MiB."));
        return history;
    }

    /// <summary>Takes the clips' latents from the cache, or encodes the clips. Several ranks share that out, where there is a cache; else each encodes all.</summary>
    private void ReadClips(TrainingData data, TextToVideoModel model, IDataView input, ProcessGroup group, IChannel channel)
    {
        var shapes = _options.Shapes(model.Factor);
        var cache = _options.CacheFolder is { } folder ? new LatentCache(folder, model, _options.ReadingInWords(shapes)) : null;
        if (cache is not null && !group.IsAlone)
        {
            using var own = new TrainingData(model);
            foreach (var row in new TrainingRows(input, _options, shapes, model.Tokenizer, cache, channel).Read(row => row % group.Size == group.Rank))
            {
                own.Add(row.Caption, row.Latents ?? [.. row.Clips.Select(clip => ClipLatents.Of(model, clip))]);
                if (row is { Latents: null, Key: { } key })
                    cache.Keep(key, own.LatentsOf(own.Rows.Count - 1));
                CheckAlive();
                group.Tell();
            }
            group.Barrier();
        }
        var rows = new TrainingRows(input, _options, shapes, model.Tokenizer, cache, channel);
        int cached = 0;
        foreach (var row in rows.Read())
        {
            if (row.Latents is not null)
                cached++;
            data.Add(row.Caption, row.Latents ?? [.. row.Clips.Select(clip => ClipLatents.Of(model, clip))]);
            if (row is { Latents: null, Key: { } key })
                cache!.Keep(key, data.LatentsOf(data.Rows.Count - 1));
            CheckAlive();
        }
        if (data.Count == 0)
            throw _host.Except($"There is nothing to train on: {(rows.Skipped > 0 ? "no clip could be read" : "the data has no rows")}.");
        if (cache is not null)
        {
            channel.Info($"{cached:N0} of {data.Rows.Count:N0} rows' latents were cached in '{_options.CacheFolder}'.");
            KeepTexts(data, model, channel);
        }
        var counts = Enumerable.Range(0, data.Count).CountBy(data.Shape).Select(shape =>
            $"{shape.Value:N0} clips of {shape.Key.Frames} frames of {shape.Key.Width * model.Factor}x{shape.Key.Height * model.Factor} pixels");
        channel.Info($"{string.Join(", ", counts)}, {_options.Steps:N0} steps.");
    }

    /// <summary>Takes the text states of all captions from the cache, or encodes them into it, once each.</summary>
    private void KeepTexts(TrainingData data, TextToVideoModel model, IChannel channel)
    {
        var texts = new TextCache(Path.Combine(_options.CacheFolder!, "text"), model);
        data.KeepTexts(caption =>
        {
            CheckAlive();
            return texts.States(caption, channel.Warning);
        });
        channel.Info(texts.Encoded == 0 ? "All captions' text states were cached: the text encoder was not needed." : $"{texts.Encoded:N0} captions were encoded.");
    }

    /// <summary>Keeps a folder to this run; null where there is none to keep.</summary>
    private FolderLock? Lock(string? folder, string role) => _options.Steps > 0 && folder is not null ? new FolderLock(folder, role) : null;

    private IEnumerable<string> LoraWithoutWeights()
    {
        if (_options is { TrainedPart: TrainedPart.TemporalLora, MotionModulePath: null } && _base.Video is null)
            yield return "TrainedPart is TemporalLora, but there are no temporal layers that have learnt before: ModelPath must be a video model, or MotionModulePath be set.";
    }

    /// <summary>How many parameters are trained, in words.</summary>
    private string Trained(TextToVideoModel model)
    {
        if (_options.TrainedPart == TrainedPart.Temporal)
            return FormattableString.Invariant($"{model.TrainedParameterCount:N0} of them trained (")
                + string.Join(", ", model.TrainedParts().Select(part => FormattableString.Invariant($"{part.Name} {part.Parameters:N0}"))) + ")";
        int layers = (_options.TrainedPart == TrainedPart.SpatialLora ? model.UNet.SpatialAttentions() : model.UNet.TemporalLinears()).Count();
        long count = Footprint(ArchitectureOf(model)).Trained;
        return FormattableString.Invariant($"none of them trained, but {count:N0} of a LoRA of rank {_options.Rank} on {layers} layers ({_options.TrainedPart})");
    }

    private static void Report(AppliedLora lora, IChannel channel)
    {
        channel.Info(FormattableString.Invariant($"{lora.File}: merged into {lora.Layers.Count} layers at scale {lora.Scale}."));
        if (lora.UnmatchedKeys.Count > 0)
            channel.Warning($"{lora.File}: {lora.UnmatchedKeys.Count} keys name no layer of the model and are left out: {string.Join(", ", lora.UnmatchedKeys)}.");
    }

    private void Tell(IReadOnlyList<LoadedPart> parts, IChannel channel)
    {
        if (parts.Count == 0)
            return;
        channel.Info($"Opened '{_options.ModelPath}':\n{LoadedPart.Table(parts)}");
        if (_base.Video is not { } video || parts[^1].Loaded.Tensors > 0)
            return;
        string problem = $"None of the model's temporal weights ({video.Layout}) fits the temporal half asked for ({_options.Layout}, width divisor "
            + $"{_options.TemporalWidthDivisor}): it starts anew";
        if (_options.TrainedPart == TrainedPart.TemporalLora)
            throw _host.ExceptUserArg(nameof(Options.TrainedPart), $"{problem}, and has nothing that a LoRA could change.");
        channel.Warning($"{problem}.");
    }

    private void CheckAlive()
    {
        _options.CancellationToken.ThrowIfCancellationRequested();
        _host.CheckAlive();
    }
}
