using Microsoft.ML.Mobius.Models;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>
/// Text states on the disk: those of each caption by its token ids, which stand for caption and tokenizer, the text encoder's weights, the kind of device and the
/// type of the numbers.
/// </summary>
internal sealed class TextCache
{
    private const string Format = "1";

    private readonly TextToVideoModel _model;
    private readonly TensorCache _files;
    private readonly string _common;

    /// <param name="folder">Made if it is missing.</param>
    /// <param name="model">What encodes.</param>
    /// <exception cref="IOException">The folder cannot be used.</exception>
    public TextCache(string folder, TextToVideoModel model)
    {
        (_model, _files) = (model, new TensorCache(folder, "text states"));
        _common = $"{Format} {model.Device.type} {TensorCache.NumbersOf(model.Device)} {RunIdentity.Hash(model.TextEncoder)} {model.TextEncoder.Config.ToJson()}";
    }

    /// <summary>Captions that were encoded, not found.</summary>
    public int Encoded { get; private set; }

    /// <summary>The states of a caption, found, or else encoded and kept; they belong to the caller.</summary>
    /// <param name="caption">The caption.</param>
    /// <param name="warn">Told which are damaged.</param>
    /// <returns>[N, D], on the CPU.</returns>
    /// <exception cref="IOException">They cannot be kept.</exception>
    public Tensor States(string caption, Action<string> warn)
    {
        string key = TensorCache.KeyOf($"{string.Join(' ', _model.Tokenizer.Encode(caption).Ids)} {_common}");
        if (_files.Find(key, out _, out string? damage) is [var found])
            return found;
        if (damage is not null)
            warn(damage);
        using var scope = NewDisposeScope();
        var states = _model.EncodeText(caption)[0].contiguous().cpu();
        _files.Keep(key, [states], note: "");
        Encoded++;
        return states.DetachFromDisposeScope();
    }
}
