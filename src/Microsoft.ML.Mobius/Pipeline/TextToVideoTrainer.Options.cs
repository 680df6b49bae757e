using System.Text.Json.Serialization;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Sampling;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Video;
using Microsoft.ML.Mobius.Weights;

namespace Microsoft.ML.Mobius;

public sealed partial class TextToVideoTrainer
{
    /// <summary>
    /// Options of the <see cref="TextToVideoTrainer"/>. They are copied and checked, all together, when the trainer is made.
    /// </summary>
    public sealed partial class Options
    {
        /// <summary>Name of the video column that is added; the default is "Video".</summary>
        public string OutputColumnName { get; set; } = "Video";

        /// <summary>
        /// Name of the text column that holds the captions when fitting and the prompts when generating; the default is "Caption".
        /// </summary>
        public string InputColumnName { get; set; } = "Caption";

        /// <summary>
        /// Name of the column of clips to learn from, read when fitting only; the default is "Clip". A text column holds the paths of video
        /// files; as many are decoded ahead as there are processors, and no more than 200 MB of frames or one file that alone has more. A video column
        /// (<see cref="VideoDataViewType"/>) holds clips of exactly <see cref="Height"/> and <see cref="Width"/>, whose frames are taken as they are, whatever their rate.
        /// </summary>
        public string ClipColumnName { get; set; } = "Clip";

        /// <summary>
        /// Name of a text column of negative prompts, for generating; the default is null: <see cref="NegativePrompt"/> in every row. A
        /// column that is named must be there when fitting, too.
        /// </summary>
        public string? NegativePromptColumnName { get; set; }

        /// <summary>
        /// Name of an Int64 column of seeds, for generating; the default is null: each row's seed comes from <see cref="Seed"/> and its
        /// prompt. A column that is named must be there when fitting, too.
        /// </summary>
        public string? SeedColumnName { get; set; }

        /// <summary>
        /// Name of a video column of sources, for generating: what becomes of them is said by <see cref="GenerationOptions.Strength"/> and
        /// <see cref="GenerationOptions.HeldFrames"/>, and as long as neither asks for one it is not read. The default is null: none. A column that is named must be there when
        /// fitting, too.
        /// </summary>
        public string? SourceColumnName { get; set; }

        /// <summary>What generated videos are led away from; the default is the empty text, plain guidance.</summary>
        public string NegativePrompt { get; set; } = "";

        /// <summary>
        /// The pretrained model to start from; the default is null: the small image model that the assembly carries. A folder in diffusers' layout with an image
        /// model (StableDiffusionPipeline, 1.x or 2.x), a video model (TextToVideoSDPipeline, as ModelScope's and ZeroScope's) or one that
        /// <see cref="TextToVideoTransformer.SavePretrained"/> wrote; or one file (.safetensors, .ckpt) with a Stable Diffusion 1.x in the names of CompVis' code.
        /// </summary>
        /// <remarks>
        /// Configs are read when the trainer is made, weights when it fits. An image model becomes the frozen spatial half. What a video model has learnt of
        /// time starts the temporal half, layer by layer where another <see cref="Layout"/> than its own is asked for; a table of what was loaded, what is new
        /// and what was left out goes to the log.
        /// </remarks>
        public string? ModelPath { get; set; }

        /// <summary>
        /// A folder with CLIP's vocab.json and merges.txt; the default is null: that of the model. A model in one file has none: then it is the
        /// folder tokenizer beside it.
        /// </summary>
        public string? TokenizerPath { get; set; }

        /// <summary>
        /// How temporal layers join the spatial ones; the default is null: as in the pretrained video model, and <see cref="UNetLayout.StreamParallel"/> for an image model.
        /// </summary>
        public UNetLayout? Layout { get; set; }

        /// <summary>
        /// The temporal stream is 1/this as wide as the spatial one: 1, 2, 4 or 8; the default is null: as in the pretrained video model, and 4
        /// for an image model, or 1 with <see cref="UNet.Lateral.Identity"/>. Of effect in StreamParallel alone.
        /// </summary>
        public int? TemporalWidthDivisor { get; set; }

        /// <summary>
        /// How the spatial stream enters the temporal one; the default is null: as in the pretrained video model, and <see cref="Lateral.Convolution"/>
        /// for an image model. Of effect in StreamParallel alone.
        /// </summary>
        public Lateral? Lateral { get; set; }

        /// <summary>
        /// How the temporal stream goes from level to level; the default is null: as in the pretrained video model, and <see cref="Resampling.Pooling"/>
        /// for an image model. Of effect in StreamParallel alone.
        /// </summary>
        public Resampling? Resampling { get; set; }

        /// <summary>
        /// Of the up levels of StreamParallel the last so many run in one stream, into which the temporal one is added before them; the default is null: as in the
        /// pretrained video model, and 1 for an image model. There frames meet in spatial layers and gradients cross those, which is what most of the
        /// difference in quality to Serial turned out to lie in. 0 is the paper's network (arXiv 2407.06617), whose streams are fused after all
        /// levels; all of them, at most, are possible. Of effect in StreamParallel alone.
        /// </summary>
        public int? JoinedLevels { get; set; }

        /// <summary>
        /// Whether the spatial layers of <see cref="JoinedLevels"/> are trained, too; the default is null: as in the pretrained video model, and true for an image model. Gradients cross them
        /// anyway. It is copies of them that are trained, in the temporal half, as its head is one, at a quarter of
        /// <see cref="LearningRate"/>; the image model stays as it is. Of effect in StreamParallel alone.
        /// </summary>
        public bool? TrainJoinedLevels { get; set; }

        /// <summary>
        /// Whether the second attention of the temporal layers is over the text; the default is null: as in the pretrained video model, and true for an image
        /// model. If false it is over the frames once more, as in published text-to-video models, and the temporal layers see the text only
        /// through the spatial ones.
        /// </summary>
        public bool? TemporalText { get; set; }

        /// <summary>
        /// AnimateDiff motion modules (arXiv 2307.04725) that become the temporal half and are trained further: a MotionAdapter folder of diffusers, its
        /// file, or a file of AnimateDiff (versions 1 to 3), made for the image model in use. The default is null: new temporal layers.
        /// Needs the Serial layout; <see cref="TemporalText"/> and <see cref="FramePositions"/> are then of no effect.
        /// </summary>
        public string? MotionModulePath { get; set; }

        /// <summary>
        /// LoRAs that are merged into the model before it is trained, one after the other; the default is none. What of their keys names no layer of the
        /// model is listed in a warning and in <see cref="TextToVideoTransformer.Loras"/>.
        /// </summary>
        public IReadOnlyList<LoraSource> Loras { get; set; } = [];

        /// <summary>What training moves; the default is <see cref="TrainedPart.Temporal"/>: all weights of the temporal half.</summary>
        /// <remarks>
        /// A LoRA is merged into the model that fitting gives, and <see cref="TextToVideoTransformer.SaveLora"/> writes it as a file, for <see cref="Loras"/> of a second
        /// stage or for other programs. <see cref="TrainedPart.TemporalLora"/> needs temporal layers that have learnt before: a video model at
        /// <see cref="ModelPath"/>, or <see cref="MotionModulePath"/>. Learning rates of LoRAs are lower than the default here, 1e-4 as a rule.
        /// </remarks>
        public TrainedPart TrainedPart { get; set; }

        /// <summary>Rank of the LoRA that is trained, at least 1; the default is null: 16. To be set only where <see cref="TrainedPart"/> is a LoRA.</summary>
        public int? LoraRank { get; set; }

        /// <summary>
        /// The LoRA that is trained counts this / <see cref="LoraRank"/> times, above 0; the default is null: the rank, so that it counts once. To be set only where
        /// <see cref="TrainedPart"/> is a LoRA.
        /// </summary>
        public double? LoraAlpha { get; set; }

        /// <summary>
        /// Whether temporal attention is told the place of each frame (sinusoids, as in AnimateDiff, arXiv 2307.04725); the default is null: as in the
        /// pretrained video model, and true for an image model. If false it knows order from the temporal convolutions alone, as in published
        /// text-to-video models.
        /// </summary>
        public bool? FramePositions { get; set; }

        /// <summary>
        /// Frames per clip, at least 1; the default is null: as many as the pretrained video model says it was trained with, otherwise 8. Of longer clips
        /// the first frames are used.
        /// </summary>
        public int? FrameCount { get; set; }

        /// <summary>
        /// Height in pixels, a multiple of the model's pixels per latent; the default is null: that which the model was trained with, 64 for the
        /// one that the assembly carries.
        /// </summary>
        public int? Height { get; set; }

        /// <summary>
        /// Width in pixels, a multiple of the model's pixels per latent; the default is null: that which the model was trained with, 64 for the
        /// one that the assembly carries.
        /// </summary>
        public int? Width { get; set; }

        /// <summary>
        /// Frames per second at which files are sampled and that generated videos are marked with, 0.001..1000; the default is 8.
        /// </summary>
        public double FrameRate { get; set; } = 8;

        /// <summary>What to do with clips of fewer frames; the default is <see cref="ShortClip.Loop"/>.</summary>
        public ShortClip ShortClip { get; set; } = ShortClip.Loop;

        /// <summary>
        /// Lengths in frames, each at least 1, of which every clip is given the longest that it fills, and the shortest if it fills none; the default is none:
        /// all clips have <see cref="FrameCount"/>. With a 1 among them pictures can lie beside the videos, and are learnt as clips of one frame.
        /// </summary>
        /// <remarks>A batch has clips of one length and size; where there are several, some batches are smaller than <see cref="BatchSize"/>.</remarks>
        public IReadOnlyList<int> FrameBuckets { get; set; } = [];

        /// <summary>
        /// Whether clips from files keep about their aspect ratio, from 1:2 to 2:1, at no more pixels than <see cref="Height"/> times <see cref="Width"/>; the
        /// default is false: all are cropped to that size. Sides are multiples of an eighth of the shorter one. It takes a look at each file before it is read.
        /// </summary>
        public bool AspectRatioBuckets { get; set; }

        /// <summary>
        /// Every so many-th frame of a clip is used, whatever its time, at least 0; the default is 0: files are sampled by time, at <see cref="FrameRate"/>.
        /// </summary>
        public int FrameStride { get; set; }

        /// <summary>
        /// How many clips, at least 1, are cut from a long one, from its beginning on and as far as whole ones fit; the default is 1. They are trained on or
        /// held out together.
        /// </summary>
        public int Windows { get; set; } = 1;

        /// <summary>Frames from the beginning of one such clip to that of the next, at least 0; the default is 0: as many as it has.</summary>
        public int WindowStride { get; set; }

        /// <summary>
        /// Whether each clip is there a second time with left and right exchanged; the default is false. Captions that tell left from right, and letters in
        /// the picture, would then be wrong.
        /// </summary>
        public bool Mirror { get; set; }

        /// <summary>
        /// Whether what is cropped of a file's frames is chosen at random, for each file once and by its content; the default is false: the middle is kept.
        /// </summary>
        public bool RandomCrop { get; set; }

        /// <summary>What to do with a clip that cannot be read; the default is <see cref="BrokenClip.Stop"/>. An empty caption is always an error.</summary>
        public BrokenClip BrokenClips { get; set; }

        /// <summary>Seconds after which a file that is not yet read counts as one that cannot be, at least 0; the default is 300. 0 waits for ever.</summary>
        public double ClipSeconds { get; set; } = 300;

        /// <summary>
        /// A folder that the latents of clips are kept in, and in its folder text the text states of captions, and taken from the next time; the default is null: none. Files
        /// that have not changed are then neither decoded nor encoded again, and captions are encoded once. On a GPU text encoder and autoencoder leave its
        /// memory while training, but for samples. Several runs may share one; it may be deleted at any time between runs.
        /// </summary>
        /// <remarks>
        /// A file's latents are found again by a hash of its content, of how it is read and of the autoencoder, text states by one of the caption's tokens and of the text
        /// encoder. What is damaged is made anew. Nothing is removed from the folder.
        /// </remarks>
        public string? CacheFolder { get; set; }

        /// <summary>
        /// Training steps, at least 0; the default is 1000. 0 trains nothing: the result is the untrained start, whose frames are those of
        /// the base image model and do not move as in a video; the clip column is not looked at, and the data may be empty.
        /// </summary>
        public int Steps { get; set; } = 1000;

        /// <summary>Clips per batch, at least 1; the default is 8.</summary>
        public int BatchSize { get; set; } = 8;

        /// <summary>
        /// Batches per step, at least 1, whose gradients' mean the step is made with; the default is 1. It takes a batch's memory and gives the steps of one
        /// this many times as large.
        /// </summary>
        public int GradientAccumulationSteps { get; set; } = 1;

        /// <summary>
        /// Whether a step keeps of the trained layers what goes from one to the next alone and computes each layer once more on the way back (activation
        /// checkpointing, arXiv 1604.06174): far less memory, for one more forward pass of these layers. The default is null: in StreamParallel, if what
        /// would be kept takes more than 512 MiB, and then of as few layers as do not raise the estimated peak by more than a fifth: of the temporal convolutions and feed-forwards of
        /// joined levels alone, or of the outer levels. In the other layouts the frozen layers are computed once more, too. The result differs by rounding at most.
        /// </summary>
        public bool? RecomputeActivations { get; set; }

        /// <summary>
        /// Memory in MiB that training may take at its peak, at least 1, by <see cref="TextToVideoTrainer.EstimateMemory"/>; the default is null: as much as it takes. If
        /// <see cref="RecomputeActivations"/> is null, activations are then recomputed where they would not fit, in any layout, and there alone; in StreamParallel as few of them as fit. If that does not fit
        /// either, fitting is refused before anything is read, and the message says what would fit.
        /// </summary>
        public int? MemoryBudget { get; set; }

        /// <summary>
        /// Frames that a layer of the frozen spatial stream computes at a time, at least 0; the default is 0: all. Fewer take less memory; the result differs by
        /// rounding at most. Of effect in StreamParallel alone.
        /// </summary>
        public int SpatialFrameChunk { get; set; }

        /// <summary>
        /// The numbers that the frozen spatial stream is held and computed in while training, in all its levels but the joined ones (<see cref="JoinedLevels"/>); the default is
        /// <see cref="SpatialPrecision.Float32"/>. 16 bits take half the memory of its weights, and on a GPU less time; no gradient is in them, and what is trained stays in float32.
        /// For StreamParallel alone: in the other layouts gradients cross all spatial layers.
        /// </summary>
        /// <remarks>
        /// The spatial weights are rounded, and stay so in the fitted model, which has them in float32 again: it makes its videos with what the temporal half has learnt
        /// beside. So <see cref="TextToVideoTransformer.SavePretrained"/> refuses to leave them out, unless the pretrained model has no more digits itself. Float16 is refused on the CPU. BFloat16 needs a
        /// processor with instructions for it to be of use there; where a virtual machine claims AMX and refuses it, the process dies of an illegal instruction, unless
        /// ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 is in its environment from the start, as it is by the scripts in build.
        /// </remarks>
        public SpatialPrecision SpatialPrecision { get; set; }

        /// <summary>
        /// Whether a GPU may round the factors of products and convolutions to TF32, which takes less time and has three decimal digits; the default is false: all digits of float32. It is a
        /// setting of the process, which fitting puts back when it ends: generating computes as the process does. Of no effect on the CPU.
        /// </summary>
        public bool AllowTf32 { get; set; }

        /// <summary>
        /// What moves the trained weights by their gradients; the default is <see cref="OptimizerKind.AdamW"/>. <see cref="OptimizerKind.Adafactor"/> takes about as much memory less
        /// as the trained weights take twice, and with <see cref="UpdateInBackward"/> three times.
        /// </summary>
        public OptimizerKind Optimizer { get; set; } = OptimizerKind.AdamW;

        /// <summary>
        /// Whether the weights of a part of the network are moved as soon as their gradients are there, which are then forgotten: all gradients are never there at once (LOMO's
        /// fused update, Lv et al. 2023, arXiv 2306.09782). The default is null: with Adafactor where activations are recomputed and a step has one batch. It needs
        /// Adafactor, whose steps do not depend on the norm over all gradients, and one batch per step.
        /// </summary>
        /// <remarks>
        /// The step is the same, but for the order in which the two halves of a larger batch are summed on the CPU. If the loss is not finite, no weight moves; if a gradient is not,
        /// those have moved whose gradients came before it, by finite gradients, and the error or warning (<see cref="NonFiniteStep"/>) says how many.
        /// </remarks>
        public bool? UpdateInBackward { get; set; }

        /// <summary>Highest learning rate, above 0; the default is 2e-3. <see cref="LearningRateSchedule"/> says how it falls.</summary>
        public double LearningRate { get; set; } = 2e-3;

        /// <summary>How the learning rate goes; the default is <see cref="LearningRateSchedule.Cosine"/>.</summary>
        public LearningRateSchedule LearningRateSchedule { get; set; } = LearningRateSchedule.Cosine;

        /// <summary>Weight decay, apart from the gradient, at least 0; the default is 1e-2.</summary>
        public double WeightDecay { get; set; } = 1e-2;

        /// <summary>Steps in which the learning rate rises linearly, at least 0; the default is 50.</summary>
        public int WarmupSteps { get; set; } = 50;

        /// <summary>
        /// What the model predicts; the default is null: as the pretrained model does. It is saved with the model. A frozen image model goes on predicting what it
        /// did: another type is for StreamParallel, where the last layers are trained, too.
        /// </summary>
        public PredictionType? PredictionType { get; set; }

        /// <summary>
        /// Whether the noise schedule is rescaled such that its last time step is noise alone (zero terminal SNR, Lin et al. 2023, arXiv 2305.08891, algorithm 1), so that
        /// videos can be as dark or bright as a whole as the clips are; the default is null: as the pretrained model's. It is saved with the model, and needs a
        /// <see cref="PredictionType"/> other than Epsilon: of noise alone, the noise tells nothing.
        /// </summary>
        public bool? ZeroTerminalSnr { get; set; }

        /// <summary>How much the noise levels count in the loss; the default is <see cref="LossWeighting.Velocity"/>.</summary>
        public LossWeighting LossWeighting { get; set; } = LossWeighting.Velocity;

        /// <summary>
        /// Strength of the offset noise, 0..1, the same for all positions and frames of a channel, that is added to a clip's noise; the default is 0: none. At 0.1
        /// videos can become darker and brighter as a whole than the image model makes them.
        /// </summary>
        public double OffsetNoise { get; set; }

        /// <summary>
        /// How much the noise of any two frames of a clip is correlated, 0 up to but not including 1, in training and in generating (PYoCo, Ge et al. 2023, arXiv
        /// 2305.10474: mixed noise, of which the paper's α = 1 is 0.5); the default is null: as the pretrained model has it, as a rule 0. It is saved with the model.
        /// </summary>
        public double? FrameNoiseCorrelation { get; set; }

        /// <summary>
        /// Strength of further noise, 0..1, that is added to a clip's noise but not to be predicted; the default is 0: none. At 0.1 it makes the model bear
        /// the errors that it makes when it generates (Ning et al. 2023, arXiv 2301.11706).
        /// </summary>
        public double InputPerturbation { get; set; }

        /// <summary>
        /// Share of captions replaced by the empty text in training, 0..1, for classifier-free guidance; the default is 0.1.
        /// </summary>
        public double CaptionDropout { get; set; } = 0.1;

        /// <summary>
        /// Share of the batches, 0..1, that are made of images: of each clip one frame, drawn anew each time, as a clip of one frame; the default is 0. Joint image and
        /// video training (Ho et al. 2022, arXiv 2204.03458) keeps single frames good. Pictures beside the videos are another way to it: see <see cref="FrameBuckets"/>.
        /// </summary>
        public double ImageShare { get; set; }

        /// <summary>
        /// Largest norm of a step's gradient, above 0; the default is 1. Larger ones are scaled down to it. Of effect with AdamW alone: Adafactor limits what it moves.
        /// </summary>
        public double MaxGradientNorm { get; set; } = 1;

        /// <summary>What to do with a step whose loss or gradient is not finite; the default is <see cref="NonFiniteStep.Stop"/>.</summary>
        public NonFiniteStep NonFiniteStep { get; set; }

        /// <summary>
        /// Decay per step of an exponential moving average of the trained weights, 0 up to but not including 1; the default is 0: none is kept. If there is one,
        /// 0.999 or 0.9999 are usual, it is measured and becomes the result, not the weights of the last step. It forgets faster in the first steps.
        /// </summary>
        public double EmaDecay { get; set; }

        /// <summary>Share of the clips that is not trained on but measured, 0 up to but not including 1; the default is 0.1.</summary>
        public double HeldOutFraction { get; set; } = 0.1;

        /// <summary>
        /// Steps between two measurements of the held-out loss, at least 0; the default is 100. 0 means at the start and the end alone.
        /// </summary>
        public int EvaluateEvery { get; set; } = 100;

        /// <summary>
        /// How many measurements of the held-out loss in a row may be no better than the best before them, at least 0; after so many training ends early. The
        /// default is 0: it never does. The result is that of the last step, not that of the best.
        /// </summary>
        public int EarlyStopping { get; set; }

        /// <summary>
        /// A folder for all that training writes, of one run at a time; the default is null: only what other options name is written. It gets options.json and, where the options of
        /// these name no others, the folders sanity (<see cref="SanityFolder"/>), cache (<see cref="CacheFolder"/>), checkpoints
        /// (<see cref="CheckpointFolder"/>), samples (<see cref="SampleFolder"/>) and logs (<see cref="TensorBoardFolder"/>, and <see cref="LogFile"/> as training.log).
        /// </summary>
        public string? TrainingFolder { get; set; }

        /// <summary>
        /// A folder for the first batch as the model sees it, before the first step: its latents decoded again as first-batch.png, beside the captions in the
        /// tokenizer's pieces; the default is null: none.
        /// </summary>
        public string? SanityFolder { get; set; }

        /// <summary>
        /// A folder for sample videos, made after step 1 and every <see cref="SampleEvery"/> steps as the transformer would make them then; the default is null: none are made.
        /// They change nothing of what is trained.
        /// </summary>
        public string? SampleFolder { get; set; }

        /// <summary>Steps between two times that samples are made, at least 0; the default is 100. 0 makes none.</summary>
        public int SampleEvery { get; set; } = 100;

        /// <summary>Prompts of the samples; the default is an empty list: the first four captions.</summary>
        public IReadOnlyList<string> SamplePrompts { get; set; } = [];

        /// <summary>
        /// A folder for TensorBoard's event files: loss, learning rate, norm of the gradient before clipping, peak memory and the share of their time that
        /// the steps so far have waited for clips, of every step; the held-out loss as a whole and by quarters of the noise schedule, and samples; the default is null: none are written. A run that is resumed goes on in the same folder.
        /// </summary>
        public string? TensorBoardFolder { get; set; }

        /// <summary>
        /// A file for what training tells, a line each with the time, warnings and why it ended among them; the default is null: none. A run that is resumed
        /// adds to it.
        /// </summary>
        public string? LogFile { get; set; }

        /// <summary>
        /// A folder for checkpoints, that of this run alone, which training can be resumed from; the default is null: none are kept. They hold the state of
        /// training, not a model to generate with.
        /// </summary>
        /// <remarks>
        /// Every checkpoint is a folder, as step-00000500, that appears once it is whole and on the disk: trained weights, their average, the optimizer's moments
        /// and what was measured. One is written after the last step, and where training is cancelled, too. Before the first step one is tried,
        /// and the free space is compared with what all of them will take.
        /// </remarks>
        public string? CheckpointFolder { get; set; }

        /// <summary>Steps between two checkpoints, at least 0; the default is 500. 0 means not by steps.</summary>
        public int CheckpointEvery { get; set; } = 500;

        /// <summary>Minutes between two checkpoints, at least 0; the default is 0: not by time.</summary>
        public double CheckpointMinutes { get; set; }

        /// <summary>How many checkpoints are kept, the newest, at least 1; the default is 3.</summary>
        public int CheckpointsKept { get; set; } = 3;

        /// <summary>
        /// Whether to go on from the newest whole checkpoint in <see cref="CheckpointFolder"/>, and from the start if there is none; the default is false: then
        /// a folder that has checkpoints is refused. On the CPU the result is, to the bit, that of the run that was not interrupted; so model,
        /// clips and all options that change the numbers must be the same.
        /// </summary>
        public bool Resume { get; set; }

        /// <summary>Denoising steps per generated video, 1..1000; the default is 25.</summary>
        public int SamplingSteps { get; set; } = 25;

        /// <summary>The method of generating; the default is null, the model's own: see <see cref="GenerationOptions.Sampler"/>.</summary>
        public SamplerKind? Sampler { get; set; }

        /// <summary>Strength of classifier-free guidance, 0..100; the default is 3. 1 means none.</summary>
        public double GuidanceScale { get; set; } = 3;

        /// <summary>
        /// How far guidance is kept from raising the contrast, 0..1; the default is 0: see <see cref="GenerationOptions.GuidanceRescale"/>.
        /// </summary>
        public double GuidanceRescale { get; set; }

        /// <summary>
        /// Seed of the first weights, of training and of generation; the default is null: the MLContext's seed, and 0 if that is null, too.
        /// </summary>
        public long? Seed { get; set; }

        /// <summary>Told of every training step that was made, in the thread that trains; the default is null.</summary>
        [JsonIgnore]
        public IProgress<TrainingProgress>? Progress { get; set; }

        /// <summary>Stops reading and training; the default never does.</summary>
        [JsonIgnore]
        public CancellationToken CancellationToken { get; set; }

        /// <summary>A copy in which what depends on the model is filled in.</summary>
        internal Options For(PretrainedModel model)
        {
            var copy = (Options)MemberwiseClone();
            copy.Loras = Loras?.ToArray()!;
            copy.FrameBuckets = FrameBuckets?.ToArray()!;
            copy.SamplePrompts = SamplePrompts?.ToArray()!;
            if (TrainingFolder is { } folder)
            {
                copy.SanityFolder ??= Path.Combine(folder, "sanity");
                copy.CacheFolder ??= Path.Combine(folder, "cache");
                copy.CheckpointFolder ??= Path.Combine(folder, "checkpoints");
                copy.SampleFolder ??= Path.Combine(folder, "samples");
                copy.TensorBoardFolder ??= Path.Combine(folder, "logs");
                copy.LogFile ??= Path.Combine(folder, "logs", "training.log");
            }
            copy.Layout ??= model.Video?.Layout ?? UNetLayout.StreamParallel;
            copy.TemporalWidthDivisor ??= model.Video?.TemporalWidthDivisor ?? (copy.Lateral == UNet.Lateral.Identity ? 1 : 4);
            copy.JoinedLevels ??= model.Video is { Layout: UNetLayout.StreamParallel } video ? video.JoinedLevels : 1;
            copy.TrainJoinedLevels ??= model.Video is not { Layout: UNetLayout.StreamParallel } parallel || parallel.TrainJoinedLevels;
            copy.Lateral ??= model.Video?.Lateral ?? UNet.Lateral.Convolution;
            copy.Resampling ??= model.Video?.Resampling ?? UNet.Resampling.Pooling;
            copy.TemporalText ??= model.Video?.TemporalText ?? true;
            copy.FramePositions ??= model.Video?.FramePositions ?? true;
            copy.FrameCount ??= model.FrameCount;
            copy.PredictionType ??= PredictionTypeNames.Of(model.Schedule.PredictionType);
            copy.ZeroTerminalSnr ??= model.Schedule.RescaleBetasZeroSnr;
            copy.Height ??= model.Side;
            copy.Width ??= model.Side;
            return copy;
        }

        internal VideoReadOptions Reading => new()
        {
            FrameCount = FrameCount!.Value, Width = Width!.Value, Height = Height!.Value, FrameRate = FrameRate, ShortClip = ShortClip,
        };

        /// <summary>The lengths and sizes of clips.</summary>
        /// <param name="factor">The model's pixels per latent.</param>
        internal ClipShapes Shapes(int factor) => new(FrameBuckets is [] ? [FrameCount!.Value] : FrameBuckets,
            AspectRatioBuckets ? ClipShapes.OfAspectRatios(Height!.Value, Width!.Value, factor) : [(Height!.Value, Width!.Value)]);

        /// <summary>Of the LoRA that is trained.</summary>
        internal int Rank => LoraRank ?? 16;

        internal bool MakesSamples => SampleFolder is not null && SampleEvery > 0;

        /// <summary>Frames of a clip that can be of use.</summary>
        internal int MostFrames(ClipShapes shapes) => shapes.Longest + (Windows - 1) * (WindowStride > 0 ? WindowStride : shapes.Longest);

        /// <summary>All that a file's latents depend on but the file and the model.</summary>
        internal string ReadingInWords(ClipShapes shapes) => FormattableString.Invariant(
            $"{string.Join(' ', shapes.FrameCounts)}; {string.Join(' ', shapes.Sizes)}; {FrameRate:R} {FrameStride} {ShortClip} {Windows} {WindowStride} {Mirror} {RandomCrop}");

        /// <summary>The image model's architecture with the temporal half asked for.</summary>
        /// <exception cref="ArgumentException">It has fewer levels than <see cref="JoinedLevels"/>.</exception>
        internal UNetConfig Architecture(UNetConfig image) => JoinedLevels > image.LevelCount
            ? throw new ArgumentException($"JoinedLevels is {JoinedLevels}, but the U-Net has {image.LevelCount} levels: 0 to {image.LevelCount} are possible.") : image with
        {
            Layout = Layout!.Value, TemporalWidthDivisor = TemporalWidthDivisor!.Value, Lateral = Lateral!.Value, TemporalText = TemporalText!.Value,
            FramePositions = FramePositions!.Value, JoinedLevels = JoinedLevels!.Value, TrainJoinedLevels = TrainJoinedLevels!.Value, Resampling = Resampling!.Value,
        };

        internal GenerationOptions Generation(long seed)
        {
            var usual = new GenerationOptions();
            return usual with
            {
                FrameCount = FrameCount ?? usual.FrameCount, Height = Height ?? usual.Height, Width = Width ?? usual.Width, FrameRate = FrameRate,
                SamplingSteps = SamplingSteps, Sampler = Sampler, GuidanceScale = GuidanceScale, GuidanceRescale = GuidanceRescale,
                NegativePrompt = NegativePrompt, Seed = seed,
            };
        }

        /// <param name="seed">Of the run.</param>
        /// <param name="footprint">How the U-Net goes about it; null where that does not matter.</param>
        internal TrainingSettings Training(long seed, TrainingFootprint? footprint = null) => new()
        {
            Steps = Steps, BatchSize = BatchSize, GradientAccumulationSteps = GradientAccumulationSteps, Optimizer = Optimizer, LearningRate = LearningRate,
            LearningRateSchedule = LearningRateSchedule, WeightDecay = WeightDecay, WarmupSteps = WarmupSteps,
            LossWeighting = LossWeighting, OffsetNoise = OffsetNoise, InputPerturbation = InputPerturbation, CaptionDropout = CaptionDropout, ImageShare = ImageShare,
            Lora = TrainedPart == TrainedPart.Temporal ? null : new LoraSettings(TrainedPart, Rank, LoraAlpha ?? Rank),
            MaxGradientNorm = MaxGradientNorm, NonFiniteStep = NonFiniteStep, EmaDecay = EmaDecay, HeldOutFraction = HeldOutFraction,
            EvaluateEvery = EvaluateEvery, EarlyStopping = EarlyStopping, Seed = seed, TensorBoardFolder = TensorBoardFolder,
            RecomputeActivations = footprint is { Recomputes: true }, KeptDepth = footprint?.KeptDepth ?? int.MaxValue,
            ReturnUnusedMemory = footprint is { ReturnsUnused: true },
            UpdateInBackward = footprint is { UpdatesInBackward: true },
            SpatialFrameChunk = Layout == UNetLayout.StreamParallel ? SpatialFrameChunk : 0, SpatialPrecision = SpatialPrecision,
            Checkpoints = CheckpointFolder is null ? null : new CheckpointSettings
            {
                Folder = CheckpointFolder, Every = CheckpointEvery, Minutes = CheckpointMinutes, Kept = CheckpointsKept, Resume = Resume,
            },
        };

        /// <summary>Everything that is wrong. What the model decides is left out where it is not filled in.</summary>
        /// <param name="factor">The model's pixels per latent; 1 where it is not known.</param>
        internal IReadOnlyList<string> Problems(int factor = 1) => [.. Names(), .. Structure(), .. Lora(), .. Numbers(), .. Generation(0).Problems(factor)];

        /// <summary>Says of every file that is named but not there.</summary>
        internal IEnumerable<string> MissingFiles()
        {
            foreach (var (option, path) in (Loras ?? []).Select(lora => ("The LoRA", lora?.Path)).Prepend((nameof(MotionModulePath), MotionModulePath)))
                if (!string.IsNullOrWhiteSpace(path) && !Path.Exists(path))
                    yield return $"{option} '{path}' does not exist.";
        }

        internal static ArgumentException Refusal(IEnumerable<string> problems) => new("The options cannot be used: " + string.Join(' ', problems), "options");

        private IEnumerable<string> Names()
        {
            foreach (var (option, name) in new[]
            {
                (nameof(OutputColumnName), OutputColumnName),
                (nameof(InputColumnName), InputColumnName),
                (nameof(ClipColumnName), Steps > 0 ? ClipColumnName : "not read"),
                (nameof(NegativePromptColumnName), NegativePromptColumnName ?? "none"),
                (nameof(SeedColumnName), SeedColumnName ?? "none"),
                (nameof(SourceColumnName), SourceColumnName ?? "none"),
            })
                if (string.IsNullOrWhiteSpace(name))
                    yield return $"{option} is empty.";
            if (Steps > 0 && InputColumnName == ClipColumnName)
                yield return $"InputColumnName and ClipColumnName are both '{InputColumnName}'; captions and clips are two columns.";
        }

        private IEnumerable<string> Lora()
        {
            if (!Enum.IsDefined(TrainedPart))
                yield return $"TrainedPart is {TrainedPart}; known are {string.Join(", ", Enum.GetNames<TrainedPart>())}.";
            else if (TrainedPart == TrainedPart.Temporal)
                foreach (var (option, value) in new (string, IFormattable?)[] { (nameof(LoraRank), LoraRank), (nameof(LoraAlpha), LoraAlpha) })
                    if (value is not null)
                        yield return FormattableString.Invariant($"{option} is {value}, but TrainedPart is Temporal: no LoRA is trained.");
            if (LoraRank < 1)
                yield return $"LoraRank is {LoraRank}; at least 1 is needed.";
            if (LoraAlpha is { } alpha && !(alpha > 0 && double.IsFinite(alpha)))
                yield return FormattableString.Invariant($"LoraAlpha is {alpha}; it must be positive and finite.");
            if (TrainedPart == TrainedPart.SpatialLora && RecomputeActivations == true)
                yield return "RecomputeActivations is true, but TrainedPart is SpatialLora: the spatial half is not recomputed.";
            if (TrainedPart == TrainedPart.SpatialLora && ImageShare > 0)
                yield return FormattableString.Invariant($"ImageShare is {ImageShare}, but TrainedPart is SpatialLora: it is trained on images alone.");
        }

        private IEnumerable<string> Structure()
        {
            if (Layout is { } layout && !Enum.IsDefined(layout))
                yield return $"Layout is {Layout}; known are {string.Join(", ", Enum.GetNames<UNetLayout>())}.";
            else if (MotionModulePath is not null && Layout is not (null or UNetLayout.Serial))
                yield return $"MotionModulePath needs the Serial layout, but Layout is {Layout}.";
            if (MotionModulePath is not null && string.IsNullOrWhiteSpace(MotionModulePath))
                yield return "MotionModulePath is empty.";
            if (Loras is null || Loras.Contains(null!))
                yield return "Loras is null or has a null; use an empty list for none.";
            foreach (var lora in Loras?.Where(lora => lora is not null) ?? [])
                if (string.IsNullOrWhiteSpace(lora.Path) || !double.IsFinite(lora.Scale))
                    yield return FormattableString.Invariant($"The LoRA of path '{lora.Path}' and scale {lora.Scale} must have a path and a finite scale.");
            if (Resampling is { } resampling && !Enum.IsDefined(resampling))
                yield return $"Resampling is {Resampling}; known are {string.Join(", ", Enum.GetNames<UNet.Resampling>())}.";
            if (Lateral is { } lateral && !Enum.IsDefined(lateral))
                yield return $"Lateral is {Lateral}; known are {string.Join(", ", Enum.GetNames<UNet.Lateral>())}.";
            if (!Enum.IsDefined(ShortClip))
                yield return $"ShortClip is {ShortClip}; known are {string.Join(", ", Enum.GetNames<ShortClip>())}.";
            if (!Enum.IsDefined(BrokenClips))
                yield return $"BrokenClips is {BrokenClips}; known are {string.Join(", ", Enum.GetNames<BrokenClip>())}.";
            if (FrameBuckets is null || FrameBuckets.Any(count => count < 1))
                yield return "FrameBuckets is null or has a length below 1; use an empty list for none.";
            foreach (var (option, folder) in new[]
            {
                (nameof(TrainingFolder), TrainingFolder), (nameof(SanityFolder), SanityFolder), (nameof(CacheFolder), CacheFolder),
                (nameof(CheckpointFolder), CheckpointFolder), (nameof(SampleFolder), SampleFolder), (nameof(TensorBoardFolder), TensorBoardFolder),
                (nameof(LogFile), LogFile),
            })
                if (folder is not null && string.IsNullOrWhiteSpace(folder))
                    yield return $"{option} is empty.";
            if (!Enum.IsDefined(LossWeighting))
                yield return $"LossWeighting is {LossWeighting}; known are {string.Join(", ", Enum.GetNames<LossWeighting>())}.";
            if (!Enum.IsDefined(Optimizer))
                yield return $"Optimizer is {Optimizer}; known are {string.Join(", ", Enum.GetNames<OptimizerKind>())}.";
            else if (UpdateInBackward == true && Optimizer != OptimizerKind.Adafactor)
                yield return $"UpdateInBackward needs Adafactor, but Optimizer is {Optimizer}, whose gradients are scaled by the norm over all of them first.";
            if (UpdateInBackward == true && GradientAccumulationSteps > 1)
                yield return $"UpdateInBackward needs one batch per step, but GradientAccumulationSteps is {GradientAccumulationSteps}.";
            if (PredictionType is { } predicted && !Enum.IsDefined(predicted))
                yield return $"PredictionType is {predicted}; known are {string.Join(", ", Enum.GetNames<PredictionType>())}.";
            else if (ZeroTerminalSnr == true && PredictionType == Microsoft.ML.Mobius.Training.PredictionType.Epsilon)
                yield return "ZeroTerminalSnr is true, but PredictionType is Epsilon: noise alone tells nothing of the noise; Velocity is usual.";
            if (!Enum.IsDefined(LearningRateSchedule))
                yield return $"LearningRateSchedule is {LearningRateSchedule}; known are {string.Join(", ", Enum.GetNames<LearningRateSchedule>())}.";
            if (!Enum.IsDefined(NonFiniteStep))
                yield return $"NonFiniteStep is {NonFiniteStep}; known are {string.Join(", ", Enum.GetNames<NonFiniteStep>())}.";
            if (SamplePrompts is null || SamplePrompts.Any(string.IsNullOrWhiteSpace))
                yield return "SamplePrompts is null or has an empty prompt; use an empty list for the captions.";
            if (Resume && CheckpointFolder is null && TrainingFolder is null)
                yield return "Resume is true, but there is no CheckpointFolder to resume from.";
            if (!Enum.IsDefined(SpatialPrecision))
                yield return $"SpatialPrecision is {SpatialPrecision}; known are {string.Join(", ", Enum.GetNames<SpatialPrecision>())}.";
            else if (SpatialPrecision != SpatialPrecision.Float32 && Layout is not (null or UNetLayout.StreamParallel))
                yield return $"SpatialPrecision is {SpatialPrecision}, but Layout is {Layout}: gradients cross its spatial layers, which are computed in Float32.";
            else if (SpatialPrecision != SpatialPrecision.Float32 && TrainedPart == TrainedPart.SpatialLora)
                yield return $"SpatialPrecision is {SpatialPrecision}, but TrainedPart is SpatialLora: gradients cross the spatial layers, which are computed in Float32.";
            if (JoinedLevels < 0)
                yield return $"JoinedLevels is {JoinedLevels}; it must be 0 or more.";
            if (TemporalWidthDivisor is not (null or 1 or 2 or 4 or 8))
                yield return $"TemporalWidthDivisor is {TemporalWidthDivisor}; 1, 2, 4 and 8 are possible.";
            else if (Layout == UNetLayout.StreamParallel && Lateral == UNet.Lateral.Identity && TemporalWidthDivisor is not (null or 1))
                yield return $"Lateral.Identity needs both streams equally wide, but TemporalWidthDivisor is {TemporalWidthDivisor}.";
        }

        private IEnumerable<string> Numbers()
        {
            if (Steps < 0)
                yield return $"Steps is {Steps}; at least 0 are needed.";
            if (FrameStride < 0)
                yield return $"FrameStride is {FrameStride}; at least 0 is needed.";
            if (WindowStride < 0)
                yield return $"WindowStride is {WindowStride}; at least 0 is needed.";
            if (Windows < 1)
                yield return $"Windows is {Windows}; at least 1 is needed.";
            else if (FrameBuckets?.DefaultIfEmpty(FrameCount ?? 1).Max() is { } longest && Height is { } height && Width is { } width
                && (longest + (Windows - 1L) * Math.Max(WindowStride, longest)) * (Int128)height * width * 4 > Array.MaxLength)
                yield return $"{Windows} Windows of {longest} frames of Height {Height} and Width {Width} do not fit into one array.";
            if (!(ClipSeconds is >= 0 and <= 1e6))
                yield return FormattableString.Invariant($"ClipSeconds is {ClipSeconds}; 0 to 1000000 are possible.");
            if (BatchSize < 1)
                yield return $"BatchSize is {BatchSize}; at least 1 is needed.";
            if (GradientAccumulationSteps < 1)
                yield return $"GradientAccumulationSteps is {GradientAccumulationSteps}; at least 1 is needed.";
            if (MemoryBudget < 1)
                yield return $"MemoryBudget is {MemoryBudget}; at least 1 MiB is needed.";
            if (SpatialFrameChunk < 0)
                yield return $"SpatialFrameChunk is {SpatialFrameChunk}; at least 0 is needed.";
            if (!(LearningRate > 0 && double.IsFinite(LearningRate)))
                yield return FormattableString.Invariant($"LearningRate is {LearningRate}; it must be positive and finite.");
            if (!(WeightDecay >= 0 && double.IsFinite(WeightDecay)))
                yield return FormattableString.Invariant($"WeightDecay is {WeightDecay}; it must be at least 0 and finite.");
            if (WarmupSteps < 0)
                yield return $"WarmupSteps is {WarmupSteps}; at least 0 are needed.";
            if (!(OffsetNoise is >= 0 and <= 1))
                yield return FormattableString.Invariant($"OffsetNoise is {OffsetNoise}; 0 to 1 is possible.");
            if (!(InputPerturbation is >= 0 and <= 1))
                yield return FormattableString.Invariant($"InputPerturbation is {InputPerturbation}; 0 to 1 is possible.");
            if (FrameNoiseCorrelation is { } correlation && !(correlation is >= 0 and < 1))
                yield return FormattableString.Invariant($"FrameNoiseCorrelation is {correlation}; it must be at least 0 and below 1.");
            if (SampleEvery < 0)
                yield return $"SampleEvery is {SampleEvery}; at least 0 is needed.";
            if (EarlyStopping < 0)
                yield return $"EarlyStopping is {EarlyStopping}; at least 0 is needed.";
            else if (EarlyStopping > 0 && (HeldOutFraction == 0 || EvaluateEvery == 0))
                yield return "EarlyStopping needs clips that are held out and measured: HeldOutFraction and EvaluateEvery must not be 0.";
            if (!(EmaDecay is >= 0 and < 1))
                yield return FormattableString.Invariant($"EmaDecay is {EmaDecay}; it must be at least 0 and below 1.");
            if (!(CaptionDropout is >= 0 and <= 1))
                yield return FormattableString.Invariant($"CaptionDropout is {CaptionDropout}; 0 to 1 is possible.");
            if (!(ImageShare is >= 0 and <= 1))
                yield return FormattableString.Invariant($"ImageShare is {ImageShare}; 0 to 1 is possible.");
            if (!(MaxGradientNorm > 0 && double.IsFinite(MaxGradientNorm)))
                yield return FormattableString.Invariant($"MaxGradientNorm is {MaxGradientNorm}; it must be positive and finite.");
            if (!(HeldOutFraction is >= 0 and < 1))
                yield return FormattableString.Invariant($"HeldOutFraction is {HeldOutFraction}; it must be at least 0 and below 1.");
            if (EvaluateEvery < 0)
                yield return $"EvaluateEvery is {EvaluateEvery}; at least 0 is needed.";
            if (CheckpointEvery < 0)
                yield return $"CheckpointEvery is {CheckpointEvery}; at least 0 is needed.";
            if (!(CheckpointMinutes >= 0 && double.IsFinite(CheckpointMinutes)))
                yield return FormattableString.Invariant($"CheckpointMinutes is {CheckpointMinutes}; it must be at least 0 and finite.");
            if (CheckpointsKept < 1)
                yield return $"CheckpointsKept is {CheckpointsKept}; at least 1 is needed.";
        }
    }
}
