using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Mobius;
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

[assembly: LoadableClass(typeof(TextToVideoTransformer), null, typeof(SignatureLoadModel), "Text to video", TextToVideoTransformer.LoaderSignature)]

namespace Microsoft.ML.Mobius;

/// <summary>
/// Adds a column of videos generated from a text column of prompts. An empty prompt gives a video of the model's own choice.
/// </summary>
/// <remarks>
/// A row's video is generated when it is asked for; reading a view twice generates twice. It depends on prompt, negative prompt, seed and
/// <see cref="Generation"/> alone, not on the row's place. May be used from several threads: videos are generated one at a time, each with
/// all the cores. Owns the model's memory; a PredictionEngine made from it disposes it unless told otherwise (OwnsTransformer = false).
/// <para>
/// Started by mpirun, as several ranks, they take the rows of <see cref="Transform"/> in turn: all must transform the same data and read it in order, and all get all videos,
/// the same that one process would make. <see cref="Generate(string, GenerationOptions, Action{SamplingProgress}, CancellationToken, GenerationStart)"/> and prediction engines
/// generate where they are called.
/// </para>
/// </remarks>
public sealed partial class TextToVideoTransformer : RowToRowTransformerBase, ITransformer, IDisposable
{
    internal const string LoaderSignature = "MobiusTextToVideo";

    private readonly TextToVideoModel _model;
    private readonly Lock _gate = new();        // held while the model is in use: it is never disposed under a generation
    private volatile GenerationOptions _generation;
    private bool _disposed;

    /// <summary>Takes over the model, but not if this throws.</summary>
    internal TextToVideoTransformer(IHostEnvironment env, TextToVideoModel model, TrainingHistory history, GenerationOptions generation,
        string inputColumnName, string outputColumnName, string? negativePromptColumnName, string? seedColumnName, string? sourceColumnName)
        : base(Contracts.CheckRef(env, nameof(env)).Register(nameof(TextToVideoTransformer)))
    {
        (_model, _generation, History) = (model, generation, history);
        (InputColumnName, OutputColumnName) = (inputColumnName, outputColumnName);
        (NegativePromptColumnName, SeedColumnName, SourceColumnName) = (negativePromptColumnName, seedColumnName, sourceColumnName);
        (ParameterCount, TrainedParameterCount) = (model.ParameterCount, model.TrainedParameterCount);
    }

    /// <summary>Name of the text column of prompts.</summary>
    public string InputColumnName { get; }

    /// <summary>Name of the video column that is added.</summary>
    public string OutputColumnName { get; }

    /// <summary>Name of the text column of negative prompts, or null if <see cref="Generation"/> has the one for all rows.</summary>
    public string? NegativePromptColumnName { get; }

    /// <summary>Name of the Int64 column of seeds, or null if seeds come from <see cref="Generation"/> and the prompts.</summary>
    public string? SeedColumnName { get; }

    /// <summary>Name of the video column of sources, of which <see cref="Generation"/> says what becomes of them, or null if there is none.</summary>
    public string? SourceColumnName { get; }

    /// <summary>How temporal layers join the spatial ones.</summary>
    public UNetLayout Layout => _model.UNet.Config.Layout;

    /// <summary>Parameters of the whole model: text encoder, autoencoder and U-Net.</summary>
    public long ParameterCount { get; }

    /// <summary>Parameters that training moved: those of the temporal half, or of the LoRA where one was trained.</summary>
    public long TrainedParameterCount { get; }

    /// <summary>The LoRAs in use, in the order in which they were applied. Merged ones are saved with the model, as part of its weights and by name.</summary>
    public IReadOnlyList<AppliedLora> Loras
    {
        get
        {
            lock (_gate)
                return _model.Loras;
        }
    }

    /// <summary>What was measured in training; empty lists if there was none.</summary>
    public TrainingHistory History { get; }

    /// <summary>How videos are generated. May be set at any time; it is saved with the model, but for the MemoryBudget, which is the machine's.</summary>
    /// <remarks>Views and prediction engines made earlier keep the options that they were made with.</remarks>
    /// <exception cref="ArgumentException">
    /// Options are out of their range; the message names all of them. Or the sampler cannot do what the model's scheduler_config.json asks for, or
    /// not in so many steps.
    /// </exception>
    public GenerationOptions Generation
    {
        get => _generation;
        set
        {
            ArgumentNullException.ThrowIfNull(value);
            Check(value);
            _generation = value;
        }
    }

    internal TextToVideoModel Model => _model;

    /// <summary>Adds the column of videos to a view; each is generated when it is asked for.</summary>
    /// <param name="input">The view, with the columns that the model was fitted for.</param>
    /// <returns>The view with the video column.</returns>
    /// <exception cref="ArgumentOutOfRangeException">A column is missing or of another type than expected.</exception>
    public new IDataView Transform(IDataView input) => ProcessGroup.IsStartedAlone ? base.Transform(input)
        : new RowToRowMapperTransform(Host, input, new Mapper(this, input.Schema, input), MakeRowMapper);

    /// <summary>Applies a LoRA (Hu et al. 2021, arXiv 2106.09685) to the U-Net and the text encoder: W + scale · alpha / rank · up down.</summary>
    /// <param name="path">
    /// A file with keys of diffusers, peft or kohya, or a folder with one as diffusers or peft writes it. Without an alpha of its own, alpha is the rank.
    /// </param>
    /// <param name="scale">Factor of the change, finite; the default is 1.</param>
    /// <param name="live">
    /// False, the default: merged into the weights, which costs no time when generating; a copy of the weights that it changes is kept for
    /// <see cref="RemoveLoras"/>. True: computed beside the weights with every generation; the model cannot be saved meanwhile.
    /// </param>
    /// <returns>What it changed, and which of its keys name no layer of the model.</returns>
    /// <remarks>Any number may be applied, and they add up. Views and prediction engines made earlier use them from their next video on.</remarks>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is damaged, or no plain LoRA.</exception>
    /// <exception cref="WeightMismatchException">No key names a layer of the model, or a shape differs. As with all the others, nothing was changed.</exception>
    /// <exception cref="NotSupportedException">It is to act live on a convolution over frames.</exception>
    public AppliedLora ApplyLora(string path, double scale = 1, bool live = false)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(path);
        if (!double.IsFinite(scale))
            throw new ArgumentOutOfRangeException(nameof(scale), scale, "The scale must be finite.");
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            return _model.ApplyLora(path, scale, live);
        }
    }

    /// <summary>
    /// Takes off what <see cref="ApplyLora"/> applied since the model was fitted or loaded: every weight is bit for bit what it was before.
    /// </summary>
    public void RemoveLoras()
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _model.RemoveLoras();
        }
    }

    /// <summary>
    /// Writes the LoRA that was trained (<see cref="TextToVideoTrainer.Options.TrainedPart"/>), which <see cref="ApplyLora"/>,
    /// <see cref="TextToVideoTrainer.Options.Loras"/> and diffusers' load_lora_weights read. It is merged into this model, and taken out of it again, but for rounding,
    /// by applying the file at scale -1.
    /// </summary>
    /// <remarks>
    /// Keys are those that diffusers writes: unet.LAYER.lora_A.weight [rank, in] and unet.LAYER.lora_B.weight [out, rank], in float32. As there, there is no alpha, which
    /// means that it is the rank: the alpha of training is worked into lora_B.
    /// </remarks>
    /// <param name="path">The .safetensors file; its folder is made if it is missing. What is there is replaced once the new one is whole.</param>
    /// <exception cref="InvalidOperationException">No LoRA was trained.</exception>
    /// <exception cref="IOException">It cannot be written.</exception>
    /// <exception cref="ObjectDisposedException">The transformer was disposed.</exception>
    public void SaveLora(string path)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(path);
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            byte[] file = _model.TrainedLora ?? throw new InvalidOperationException(
                "No LoRA was trained: TrainedPart was Temporal, or there was no training. SavePretrained writes the model.");
            FileAside.WriteThrough(path, stream => stream.Write(file));
        }
    }

    /// <summary>Frees the model's memory, once a generation under way has ended. Generating and saving are impossible from then
    /// on.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (!_disposed)
                _model.Dispose();
            _disposed = true;
        }
    }

    /// <summary>Generates one video, without a data view around it: that which a row of this prompt would get.</summary>
    /// <param name="prompt">What to show; an empty text leaves it to the model.</param>
    /// <param name="options">How; the default is null: as <see cref="Generation"/> says. Several videos of one prompt differ by their Seed.</param>
    /// <param name="progress">Called after every step, in the calling thread; can make previews. The default is null.</param>
    /// <param name="token">Stops between two steps; the default never does.</param>
    /// <param name="start">A source or noise that is given; the default is null: the noise of the seed.</param>
    /// <returns>A clip of the length and size that the options say.</returns>
    /// <exception cref="ArgumentException">
    /// Options are out of their range; the message names all of them. Or the source or the noise is missing, not asked for, or of another size than the options say.
    /// </exception>
    /// <exception cref="InvalidDataException">The model gave a value that is not finite.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled, or the MLContext.</exception>
    /// <exception cref="ObjectDisposedException">The transformer was disposed.</exception>
    public VideoClip Generate(string prompt, GenerationOptions? options = null, Action<SamplingProgress>? progress = null, CancellationToken token = default,
        GenerationStart? start = null)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        options ??= Generation;
        Check(options);
        return Generate(prompt, options.NegativePrompt, options, options.SeedOf(prompt), progress, token, start);
    }

    /// <summary>Generates several videos of one prompt, of one Seed after the other, each when it is asked for.</summary>
    /// <param name="prompt">What to show; an empty text leaves it to the model.</param>
    /// <param name="count">How many, at least 0.</param>
    /// <param name="options">How, with the Seed of the first; the default is null: as <see cref="Generation"/> says.</param>
    /// <param name="token">Stops between two steps; the default never does.</param>
    /// <param name="start">A source that all of them have; its noise must be empty, for they would be the same. The default is null.</param>
    /// <returns>The videos, each that which <see cref="Generate(string, GenerationOptions, Action{SamplingProgress}, CancellationToken, GenerationStart)"/> gives.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="count"/> is below 0.</exception>
    /// <exception cref="ArgumentException">Noise is given. What Generate refuses is refused as it refuses it, when the first video is asked for.</exception>
    public IEnumerable<VideoClip> GenerateSeveral(
        string prompt, int count, GenerationOptions? options = null, CancellationToken token = default, GenerationStart? start = null)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        if (start?.Noise.IsEmpty == false)
            throw new ArgumentException("With the noise given all videos would be the same.", nameof(start));
        var how = options ?? Generation;
        return Enumerable.Range(0, count).Select(i => Generate(prompt, how with { Seed = how.Seed + i }, progress: null, token, start));
    }

    /// <summary>Writes the model as a folder that <see cref="TextToVideoTrainer.Options.ModelPath"/> opens again.</summary>
    /// <remarks>
    /// A model of the Serial layout becomes a folder of diffusers' TextToVideoSDPipeline, where that has such a U-Net: temporal text and frame positions off,
    /// attention heads of one size at all levels. Every other becomes one of our own, MobiusPipeline, in the same files, but with the U-Net in two: spatial.safetensors
    /// and temporal.safetensors; the log says why. Weights are written in float32. The options of <see cref="Generation"/> are not part of such a folder, but frame count and,
    /// of square videos, size are.
    /// </remarks>
    /// <param name="folder">
    /// The folder, made if it is missing. If it is there and not empty it must be one that this method wrote, and is replaced. It is written under another name
    /// first: what was there stays until the new one is whole.
    /// </param>
    /// <param name="baseModel">
    /// The pretrained model, a folder or a file, that this one was made around. Then only what was trained is written, the temporal half, and the relative path
    /// to that model, so that many can share it. The default is null: everything is written.
    /// </param>
    /// <exception cref="IOException">The folder is another's, or it cannot be written, or a file of <paramref name="baseModel"/> cannot be read.</exception>
    /// <exception cref="ArgumentException"><paramref name="baseModel"/> is <paramref name="folder"/>.</exception>
    /// <exception cref="Weights.WeightMismatchException"><paramref name="baseModel"/> is not the model that this one was made around.</exception>
    /// <exception cref="ObjectDisposedException">The transformer was disposed.</exception>
    public void SavePretrained(string folder, string? baseModel = null)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(folder);
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            var how = Generation;
            string? own = ModelFolder.Save(_model, folder, how.FrameCount, how.Height == how.Width ? how.Height : null, baseModel);
            using var channel = Host.Start("Saving");
            channel.Info(own is null ? $"'{folder}' opens in diffusers' TextToVideoSDPipeline, too." : $"'{folder}' is a MobiusPipeline: {own}.");
        }
    }

    private VideoClip Generate(string prompt, string negativePrompt, GenerationOptions how, long seed,
        Action<SamplingProgress>? progress = null, CancellationToken token = default, GenerationStart? start = null)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            Host.CheckAlive();
            var sampler = new TextToVideoSampler(_model);
            how = Fitted(how);
            if (Problem(how, start?.Source) is { } problem)
                throw new ArgumentException(problem, nameof(start));
            long[] shape = sampler.NoiseShape(how.Settings);
            if (start is { Noise: { IsEmpty: false } noise } && noise.Length != shape.Aggregate((a, b) => a * b))
                throw new ArgumentException($"The noise has {noise.Length} numbers; expected are those of [{string.Join(", ", shape[1..])}].", nameof(start));
            return sampler.Generate(prompt, negativePrompt, how.Settings, seed, at =>
            {
                Host.CheckAlive();
                if (!ProcessGroup.IsStartedAlone)
                    ProcessGroup.Current.Tell();
                progress?.Invoke(at);
            }, token, start?.Source, start?.Noise ?? default);
        }
    }

    /// <summary>Why a source does not go with the options; null if it does.</summary>
    internal static string? Problem(GenerationOptions how, VideoClip? source)
    {
        string asked = FormattableString.Invariant($"Strength is {how.Strength} and HeldFrames {how.HeldFrames}");
        if (source is null)
            return how.NeedsSource ? $"There is no source, but {asked}." : null;
        if (!how.NeedsSource)
            return $"The source would be of no use: {asked}.";
        int needed = how.Strength < 1 ? how.FrameCount : how.HeldFrames;
        return source.FrameCount < needed || (source.Height, source.Width) != (how.Height, how.Width)
            ? $"The source is {source}; expected are {needed} frames or more of {how.Width}x{how.Height}, for {asked}." : null;
    }

    /// <exception cref="ArgumentException">The options cannot be used; the message names all that is wrong.</exception>
    private void Check(GenerationOptions options)
    {
        string[] problems = [.. options.Problems(_model.Factor)];
        if (problems.Length == 0 && Layout != UNetLayout.StreamParallel && (options.SpatialFrameChunk > 0 || options.DeepCacheInterval > 1))
            problems = [$"SpatialFrameChunk is {options.SpatialFrameChunk} and DeepCacheInterval {options.DeepCacheInterval}, but the model is of the layout {Layout}."];
        string? leavesOut = options.KeyFrames > 0 ? $"KeyFrames is {options.KeyFrames}"
            : options.Strength < 1 ? FormattableString.Invariant($"Strength is {options.Strength}") : null;
        if (problems.Length == 0 && SamplerChoice.Problem(options.Sampler, _model.Schedule, options.SamplingSteps, options.Eta, leavesOut) is { } problem)
            problems = [problem];
        if (problems.Length == 0 && OverBudget(options) is { } over)
            problems = [over];
        if (problems.Length > 0)
            throw new ArgumentException("The options cannot be used: " + string.Join(' ', problems), nameof(options));
    }

    private protected override IRowMapper MakeRowMapper(DataViewSchema schema) => new Mapper(this, schema);
}
