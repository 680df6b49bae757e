using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Weights;

/// <summary>Those tensors of a file that one module is to take, under the module's names. Owns the file.</summary>
/// <remarks>
/// The weight of a projection may be stored as a 1x1 convolution's [C, D, 1, 1] where the module has a linear layer's [C, D], or the other way round: it
/// is shown in the module's shape. No other shape is ever changed.
/// </remarks>
internal sealed class WeightView : WeightFile
{
    private static readonly string[] s_projections =
        [".proj_in.weight", ".proj_out.weight", ".to_q.weight", ".to_k.weight", ".to_v.weight", ".to_out.0.weight"];

    private readonly WeightFile _file;
    private readonly OrderedDictionary<string, WeightEntry> _entries = [];
    private readonly Dictionary<string, string> _stored = [];

    /// <param name="file">Where the tensors are; disposed with this.</param>
    /// <param name="name">What to call it in messages.</param>
    /// <param name="module">Who is to take them.</param>
    /// <param name="includes">Whether a stored name is the module's business.</param>
    /// <param name="rename">Maps such a name to the module's; null for what is left out knowingly.</param>
    /// <exception cref="InvalidDataException">Two stored tensors are the same weight of the module.</exception>
    public WeightView(WeightFile file, string name, nn.Module module, Func<string, bool> includes, Func<string, string?> rename)
        : base(name)
    {
        _file = file;
        var targets = module.state_dict();
        var leftOut = new List<WeightEntry>();
        foreach (var entry in file.Entries.Values.Where(entry => includes(entry.Name)))
        {
            if (rename(entry.Name) is not { } own)
                leftOut.Add(entry);
            else if (!_stored.TryAdd(own, entry.Name))
                throw new InvalidDataException($"{name} holds '{_stored[own]}' and '{entry.Name}', which are both the weight {own}.");
            else
                _entries.Add(own, new WeightEntry(own, entry.Type, Shape(own, entry.Shape, targets.GetValueOrDefault(own)?.shape)));
        }
        LeftOut = leftOut;
    }

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, WeightEntry> Entries => _entries;

    /// <summary>What is the module's business, but not taken.</summary>
    public IReadOnlyList<WeightEntry> LeftOut { get; }

    /// <inheritdoc/>
    public override void CopyTo(string name, Tensor target)
    {
        Entry(name);
        _file.CopyTo(_stored[name], target);
    }

    /// <inheritdoc/>
    public override void Dispose() => _file.Dispose();

    private static long[] Shape(string name, long[] stored, long[]? expected)
    {
        bool same = expected is not null && s_projections.Any(ending => name.EndsWith(ending, StringComparison.Ordinal))
            && Linear(stored) is { } from && Linear(expected) is { } to && from.SequenceEqual(to);
        return same ? expected! : stored;
    }

    /// <summary>[C, D] of a linear layer's or a 1x1 convolution's weight; null of any other.</summary>
    private static long[]? Linear(long[] shape) => shape switch
    {
        [_, _] => shape,
        [var c, var d, 1, 1] => [c, d],
        _ => null,
    };
}
