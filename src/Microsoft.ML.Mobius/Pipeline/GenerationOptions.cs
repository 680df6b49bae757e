using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Microsoft.ML.Mobius.Sampling;
using Microsoft.ML.Mobius.UNet;

namespace Microsoft.ML.Mobius;

/// <summary>How a <see cref="TextToVideoTransformer"/> generates videos. Immutable: change one by <c>with</c>.</summary>
/// <remarks>A model is best at the length and size it was trained at, and starts out with those.</remarks>
public sealed record GenerationOptions
{
    /// <summary>Frames per video, at least 1; the default is 8.</summary>
    public int FrameCount { get; init; } = 8;

    /// <summary>Height in pixels, a multiple of the model's pixels per latent; the default is 64.</summary>
    public int Height { get; init; } = 64;

    /// <summary>Width in pixels, a multiple of the model's pixels per latent; the default is 64.</summary>
    public int Width { get; init; } = 64;

    /// <summary>Frames per second that the videos are marked with, 0.001..1000; the default is 8.</summary>
    public double FrameRate { get; init; } = 8;

    /// <summary>Denoising steps per video, 1..1000; the default is 25. More are slower and, up to a point, better.</summary>
    public int SamplingSteps { get; init; } = 25;

    /// <summary>
    /// The method; the default is null: that which the model's scheduler_config.json names, and <see cref="SamplerKind.Ddim"/> if it names
    /// none of them.
    /// </summary>
    public SamplerKind? Sampler { get; init; }

    /// <summary>Strength of classifier-free guidance, 0..100; the default is 3. 1 means none, which takes half the time.</summary>
    public double GuidanceScale { get; init; } = 3;

    /// <summary>
    /// How far guidance is kept from raising the contrast, 0..1; the default is 0, not at all. With a high <see cref="GuidanceScale"/> 0.7 is usual
    /// (Lin et al. 2023, arXiv 2305.08891, section 3.4).
    /// </summary>
    public double GuidanceRescale { get; init; }

    /// <summary>
    /// How much noise each step of <see cref="SamplerKind.Ddim"/> adds, 0..1 (η of Song et al. 2021, arXiv 2010.02502, eq. 16); the default is 0, none;
    /// 1 is as much as DDPM. Other samplers have no such choice: they refuse any other value than 0.
    /// </summary>
    public double Eta { get; init; }

    /// <summary>
    /// What the videos are led away from, in rows that bring no negative prompt of their own; the default is the empty text, plain
    /// guidance.
    /// </summary>
    public string NegativePrompt { get; init; } = "";

    /// <summary>Together with the prompt decides a video's noise, in rows that bring no seed of their own; the default is 0.</summary>
    /// <remarks>
    /// The noise's seed is a hash (SHA-256) of this number and the prompt: the same prompt gives the same video in any row. Several videos of one
    /// prompt are several rows, each with a seed of its own; or see <see cref="TextToVideoTransformer.GenerateSeveral"/>.
    /// </remarks>
    public long Seed { get; init; }

    /// <summary>Whether the video is to be shown in a loop: its first frame then goes on from its last. The default is false.</summary>
    /// <remarks>
    /// The model's layers over time then see a circle of frames, of which none is the first; it takes no longer. What only ever moves one way in the clips that the model learnt
    /// from cannot do so in a loop: where the model is told the places of frames (<see cref="TextToVideoTrainer.Options.FramePositions"/>), and motion modules are, they go there
    /// and back, and so does what moves. A loop longer than <see cref="FrameWindow"/> is made of windows that begin one frame later with every step (latent shift,
    /// arXiv 2502.20307). Without a source the video begins where the loop is stillest.
    /// </remarks>
    public bool Loop { get; init; }

    /// <summary>Frames that the model sees at a time, at least 2, or 0, the default, for all. For videos longer than those it was trained on: their length.</summary>
    /// <remarks>
    /// The windows overlap, and what is predicted of a frame in several of them is averaged (MultiDiffusion, arXiv 2302.08113, over time): memory is that of one
    /// window however long the video; time is that of all windows, twice that of the video at the usual overlap.
    /// </remarks>
    public int FrameWindow { get; init; }

    /// <summary>Frames that a window shares with the one before, 1..FrameWindow - 1; the default is null: half of <see cref="FrameWindow"/>.</summary>
    public int? FrameOverlap { get; init; }

    /// <summary>
    /// Frames that are made first and spread over the video, 2..FrameCount - 1, or 0, the default, for none. For videos longer than trained in which a motion goes on all the
    /// time, as many times slower: with 64 frames, a <see cref="FrameWindow"/> of 8 and 8 key frames what takes 8 frames takes 64.
    /// </summary>
    /// <remarks>
    /// Those between them are mixed, and a fifth of the steps is then taken again for all of them (SDEdit, arXiv 2108.01073). Not with a source, and not with
    /// <see cref="SamplerKind.Pndm"/>.
    /// </remarks>
    public int KeyFrames { get; init; }

    /// <summary>
    /// How much of a source (<see cref="GenerationStart.Source"/>, or the source column) is made anew, above 0 and up to 1: the share of the steps that are taken from the
    /// source with noise on (SDEdit, arXiv 2108.01073). The default is 1: all of it, from noise alone. Not with <see cref="SamplerKind.Pndm"/>.
    /// </summary>
    public double Strength { get; init; } = 1;

    /// <summary>
    /// Frames of the source that the video begins with, 0..FrameCount - 1; the default is 0. 1 with an image as the source gives the first frame, more continue a clip.
    /// </summary>
    /// <remarks>
    /// At every step these frames are the source's with that step's noise (the replacement method, arXiv 2204.03458, section 3.1). It needs no training, and it is not as good as
    /// a model trained to be given a frame: the first steps, which decide where things are, see next to nothing of the source through the noise. What the prompt says
    /// should be what the source shows.
    /// </remarks>
    public int HeldFrames { get; init; }

    /// <summary>Whether prompts, negative ones too, are read with weights; the default is false: brackets are text like any other.</summary>
    /// <remarks>
    /// (word) counts 1.1 times as much, [word] a 1.1th, (word:1.3) 1.3 times; within each other they multiply; \( \) \[ \] \\ are the characters themselves. The text
    /// encoder's state of a token is multiplied by its weight, and then all states of the prompt by one number, so that their mean size stays.
    /// </remarks>
    public bool PromptWeights { get; init; }

    /// <summary>
    /// Rows of a picture that a layer of the autoencoder computes at a time when it decodes, or 0, the default, for all: less memory for large pictures, about the same time.
    /// There are no seams: results differ by rounding alone.
    /// </summary>
    public int DecodeRows { get; init; }

    /// <summary>
    /// Whether what guidance compares, the prediction with the prompt and that with the negative one, is computed one after the other; the default is false: at once, side by side
    /// on a CPU and as one batch elsewhere. It takes less memory, and more time.
    /// </summary>
    public bool GuidanceInTurn { get; init; }

    /// <summary>
    /// Frames that a layer of the frozen spatial stream computes at a time, or 0, the default, for all: less memory where frames are large. For models of
    /// <see cref="UNetLayout.StreamParallel"/>; results differ by rounding alone.
    /// </summary>
    public int SpatialFrameChunk { get; init; }

    /// <summary>
    /// Of so many calls of the model in a row only the first computes the inner levels, and the others take what it computed (DeepCache, arXiv 2312.00858), at least 1; the
    /// default is 1: every one. Faster, and another video. For models of <see cref="UNetLayout.StreamParallel"/>, and not with <see cref="FrameWindow"/>.
    /// </summary>
    public int DeepCacheInterval { get; init; } = 1;

    /// <summary>
    /// Memory in MiB that generating may take, at least 1, by <see cref="TextToVideoTransformer.EstimateMemory"/>; the default is null: as much as it takes. Of
    /// <see cref="GuidanceInTurn"/>, <see cref="SpatialFrameChunk"/> and <see cref="DecodeRows"/> it then takes what is needed to fit, and no more. What does not fit even so is refused,
    /// and the message says what would.
    /// </summary>
    public int? MemoryBudget { get; init; }

    /// <summary>Whether there must be a source to generate so.</summary>
    internal bool NeedsSource => Strength < 1 || HeldFrames > 0;

    internal SamplingSettings Settings => new(FrameCount, Height, Width, FrameRate, SamplingSteps, GuidanceScale, GuidanceRescale, Sampler, Eta)
    {
        Loop = Loop, FrameWindow = FrameWindow, FrameOverlap = FrameOverlap ?? FrameWindow / 2, Strength = Strength, HeldFrames = HeldFrames,
        PromptWeights = PromptWeights, DecodeRows = DecodeRows, KeyFrames = KeyFrames, GuidanceInTurn = GuidanceInTurn, SpatialFrameChunk = SpatialFrameChunk,
        DeepCacheInterval = DeepCacheInterval,
    };

    /// <summary>
    /// The first eight bytes, little-endian, of SHA-256 over the seed (eight bytes, little-endian) and the prompt in UTF-8.
    /// </summary>
    internal long SeedOf(string prompt)
    {
        byte[] bytes = [.. new byte[sizeof(long)], .. Encoding.UTF8.GetBytes(prompt)];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, Seed);
        return BinaryPrimitives.ReadInt64LittleEndian(SHA256.HashData(bytes));
    }

    /// <summary>Everything that is wrong.</summary>
    /// <param name="factor">The model's pixels per latent.</param>
    internal IEnumerable<string> Problems(int factor)
    {
        if (FrameCount < 1)
            yield return $"FrameCount is {FrameCount}; at least 1 is needed.";
        foreach (var (name, side) in new[] { (nameof(Height), Height), (nameof(Width), Width) })
        {
            if (side is < 1 or > LargestSide)
                yield return $"{name} is {side}; 1 to {LargestSide} pixels are possible.";
            else if (side % factor != 0)
                yield return $"{name} is {side}, which is no multiple of {factor}, the model's pixels per latent; the nearest "
                    + (side < factor ? $"size is {factor}." : $"sizes are {side / factor * factor} and {(side / factor + 1) * factor}.");
        }
        if (FrameCount >= 1 && Height >= 1 && Width >= 1 && (Int128)FrameCount * Height * Width * 4 > Array.MaxLength)
            yield return $"A video of FrameCount {FrameCount}, Height {Height} and Width {Width} does not fit into one array.";
        if (!(FrameRate is >= 0.001 and <= 1000))
            yield return Invariant($"FrameRate is {FrameRate}; 0.001 to 1000 frames/s are possible.");
        if (SamplingSteps is < 1 or > 1000)
            yield return $"SamplingSteps is {SamplingSteps}; 1 to 1000 are possible.";
        if (Sampler is { } sampler && !Enum.IsDefined(sampler))
            yield return $"Sampler is {sampler}; known are {string.Join(", ", Enum.GetNames<SamplerKind>())}.";
        if (!(GuidanceScale is >= 0 and <= 100))
            yield return Invariant($"GuidanceScale is {GuidanceScale}; 0 to 100 are possible.");
        if (!(GuidanceRescale is >= 0 and <= 1))
            yield return Invariant($"GuidanceRescale is {GuidanceRescale}; 0 to 1 are possible.");
        if (!(Eta is >= 0 and <= 1))
            yield return Invariant($"Eta is {Eta}; 0 to 1 are possible.");
        if (FrameWindow < 0 || FrameWindow == 1)
            yield return $"FrameWindow is {FrameWindow}; 0 and at least 2 are possible.";
        else if (FrameOverlap is { } overlap && (overlap < 1 || overlap >= FrameWindow))
            yield return FrameWindow == 0 ? $"FrameOverlap is {overlap}, but there are no windows: FrameWindow is 0."
                : $"FrameOverlap is {overlap}; 1 to {FrameWindow - 1} are possible, for FrameWindow is {FrameWindow}.";
        if (KeyFrames < 0 || KeyFrames == 1 || (KeyFrames > 0 && KeyFrames >= FrameCount))
            yield return $"KeyFrames is {KeyFrames}; 0 and 2 to {FrameCount - 1} are possible, for FrameCount is {FrameCount}.";
        else if (KeyFrames > 0 && NeedsSource)
            yield return Invariant($"KeyFrames is {KeyFrames}, but not with a source, which Strength {Strength} and HeldFrames {HeldFrames} ask for.");
        if (!(Strength is > 0 and <= 1))
            yield return Invariant($"Strength is {Strength}; above 0 to 1 is possible.");
        if (HeldFrames < 0 || (HeldFrames > 0 && HeldFrames >= FrameCount))
            yield return $"HeldFrames is {HeldFrames}; 0 to {Math.Max(0, FrameCount - 1)} are possible, for FrameCount is {FrameCount}.";
        if (DecodeRows < 0)
            yield return $"DecodeRows is {DecodeRows}; at least 0 is needed.";
        if (SpatialFrameChunk < 0)
            yield return $"SpatialFrameChunk is {SpatialFrameChunk}; at least 0 is needed.";
        if (DeepCacheInterval < 1)
            yield return $"DeepCacheInterval is {DeepCacheInterval}; at least 1 is needed.";
        else if (DeepCacheInterval > 1 && FrameWindow > 0)
            yield return $"DeepCacheInterval is {DeepCacheInterval}, but there are windows, which have nothing in common: FrameWindow is {FrameWindow}.";
        if (MemoryBudget < 1)
            yield return $"MemoryBudget is {MemoryBudget}; at least 1 MiB is needed.";
        if (NegativePrompt is null)
            yield return "NegativePrompt is null; use the empty text for none.";
    }

    private const int LargestSide = 16384;      // the video reader's

    private static string Invariant(FormattableString text) => FormattableString.Invariant(text);
}
