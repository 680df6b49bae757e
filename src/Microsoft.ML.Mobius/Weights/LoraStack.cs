using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Weights;

/// <summary>The LoRAs of a model, in the order in which they were applied, and what is needed to take them off again.</summary>
internal sealed class LoraStack : IDisposable
{
    private readonly List<AppliedLora> _applied;
    private readonly List<LiveLora> _live = [];
    private readonly Dictionary<nn.Module, Tensor> _originals = [];     // by layer: moving a model to a device makes new parameters
    private int _kept;

    /// <param name="merged">Those that are in the weights already, for good.</param>
    public LoraStack(IEnumerable<AppliedLora>? merged = null)
    {
        _applied = [.. merged ?? []];
        _kept = _applied.Count;
    }

    public IReadOnlyList<AppliedLora> Applied => [.. _applied];

    /// <summary>Applies a LoRA; nothing is changed if this throws.</summary>
    /// <param name="match">Its pairs and their layers.</param>
    /// <param name="scale">Factor.</param>
    /// <param name="live">Beside the weights, or merged into them.</param>
    /// <param name="forGood">Not to be taken off again, so that nothing is kept for it; for merged ones, before any other.</param>
    public AppliedLora Apply(LoraMatch match, double scale, bool live = false, bool forGood = false)
    {
        if (live)
            _live.Add(new LiveLora(match, scale));
        else
        {
            if (!forGood)
                foreach (var (_, layer, _) in match.Layers)
                    Keep(layer);
            match.MergeInto(scale);
        }
        var applied = new AppliedLora(match.File, scale, live, [.. match.Layers.Select(layer => layer.Name)], match.UnmatchedKeys);
        _applied.Add(applied);
        _kept += forGood ? 1 : 0;
        return applied;
    }

    /// <summary>Takes all off that were not applied for good: every weight is bit for bit what it was before.</summary>
    public void Remove()
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        foreach (var (layer, original) in _originals)
            LoraMatch.Weight(layer).copy_(original);
        _applied.RemoveRange(_kept, _applied.Count - _kept);
        Dispose();
    }

    public void Dispose()
    {
        _live.ForEach(live => live.Dispose());
        foreach (var original in _originals.Values)
            original.Dispose();
        _live.Clear();
        _originals.Clear();
    }

    private void Keep(nn.Module layer)
    {
        if (_originals.ContainsKey(layer))
            return;
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var weight = LoraMatch.Weight(layer);
        var original = empty(weight.shape, weight.dtype, CPU).DetachFromDisposeScope();
        _originals.Add(layer, original);
        original.copy_(weight);
    }
}
