using System.Security.Cryptography;
using System.Text;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Torch;
using Microsoft.ML.Mobius.Video;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>
/// The clips of a training run as the model sees them: captions, on wish with their text states, and latents, so that neither pixels nor the autoencoder are
/// needed again. A row of the data can have several clips, as windows of one video.
/// </summary>
internal sealed class TrainingData(TextToVideoModel model) : IDisposable
{
    private readonly List<(string Caption, ClipLatents Latents)> _clips = [];
    private readonly List<int[]> _rows = [];
    private readonly Dictionary<string, Tensor> _texts = [];
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    public int Count => _clips.Count;

    /// <summary>The clips of each row.</summary>
    public IReadOnlyList<int[]> Rows => _rows;

    /// <summary>Tells these captions and pixels, in this order, from others.</summary>
    public string Hash => Convert.ToHexStringLower(_hash.GetCurrentHash())[..16];

    /// <summary>Encodes a clip and adds it as a row.</summary>
    /// <exception cref="InvalidDataException">Its latents are not finite.</exception>
    public void Add(string caption, VideoClip clip) => Add(caption, [ClipLatents.Of(model, clip)]);

    /// <summary>Adds a row and takes its latents over.</summary>
    public void Add(string caption, IReadOnlyList<ClipLatents> row)
    {
        _rows.Add([.. Enumerable.Range(Count, row.Count)]);
        foreach (var latents in row)
        {
            _clips.Add((caption, latents));
            _hash.AppendData(Encoding.UTF8.GetBytes(FormattableString.Invariant($"{latents.Pixels} {caption.Length} {caption}")));
        }
    }

    /// <summary>Keeps the text states of every caption, and of none, in memory, so that the text encoder is not needed again.</summary>
    /// <param name="states">Gives those of a caption, [N, D] on the CPU, which this object takes over.</param>
    public void KeepTexts(Func<string, Tensor> states)
    {
        foreach (string caption in _clips.Select(clip => clip.Caption).Prepend("").Distinct())
            _texts.Add(caption, states(caption));
    }

    /// <summary>The text states of captions, [B, N, D] on the model's device; belong to the caller's scope.</summary>
    /// <param name="captions">Of clips, or empty ones.</param>
    public Tensor Texts(IReadOnlyList<string> captions)
        => _texts.Count == 0 ? model.EncodeText(captions) : stack(captions.Select(caption => _texts[caption])).OnDevice(model.Device);

    /// <summary>The latents of a row's clips, which stay this object's.</summary>
    public IReadOnlyList<ClipLatents> LatentsOf(int row) => [.. _rows[row].Select(clip => _clips[clip].Latents)];

    public string Caption(int clip) => _clips[clip].Caption;

    /// <summary>Frames, and height and width in latents.</summary>
    public (long Frames, long Height, long Width) Shape(int clip) => _clips[clip].Latents.Mean.shape is [_, var frames, var height, var width]
        ? (frames, height, width) : throw new InvalidOperationException("Latents must be [c, F, h, w].");

    /// <summary>Which clips are held out and which are trained on, in a random order; all clips of a row are one or the other.</summary>
    /// <param name="share">Of the rows, that are held out; one at least is not.</param>
    /// <param name="random">Draws.</param>
    public (int[] HeldOut, int[] Trained) Split(double share, TrainingRandom random)
    {
        int[][] rows = [.. _rows];
        random.Split().Shuffle(rows);
        int heldOut = Math.Min((int)Math.Round(rows.Length * share), rows.Length - 1);
        return ([.. rows[..heldOut].SelectMany(row => row)], [.. rows[heldOut..].SelectMany(row => row)]);
    }

    /// <summary>A draw from the latents' posterior, [B, c, F, h, w] on the CPU; belongs to the caller's scope.</summary>
    /// <param name="clips">Of one shape.</param>
    /// <param name="generator">Draws.</param>
    public Tensor Latents(IReadOnlyList<int> clips, Generator generator)
    {
        using var scope = NewDisposeScope();
        var mean = Means(clips);
        var deviation = stack(clips.Select(i => _clips[i].Latents.Deviation));
        return (mean + deviation * randn(mean.shape, generator: generator)).MoveToOuterDisposeScope();
    }

    /// <summary>The posterior's means, [B, c, F, h, w] on the CPU; belong to the caller's scope.</summary>
    /// <param name="clips">Of one shape.</param>
    public Tensor Means(IReadOnlyList<int> clips) => stack(clips.Select(i => _clips[i].Latents.Mean));

    public void Dispose()
    {
        foreach (var (_, latents) in _clips)
            latents.Dispose();
        foreach (var states in _texts.Values)
            states.Dispose();
        _clips.Clear();
        _texts.Clear();
        _hash.Dispose();
    }
}
