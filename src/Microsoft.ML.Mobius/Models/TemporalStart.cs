using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Models;

/// <summary>The first weights of a temporal half: those of a pretrained one as far as it has the same layers, and beyond that as constructed.</summary>
internal static class TemporalStart
{
    /// <summary>Reads what there is.</summary>
    /// <param name="temporal">As constructed; has the result.</param>
    /// <param name="config">Its architecture.</param>
    /// <param name="source">Of the same widths, for image and video models alike.</param>
    /// <exception cref="WeightMismatchException">The pretrained half is of the same architecture, but its weights are not what that has.</exception>
    public static LoadedPart Load(TemporalStream temporal, UNetConfig config, ModelSource source)
    {
        const string Name = "unet.temporal";
        var targets = temporal.state_dict();
        if (!source.HasTemporal)
            return new LoadedPart(Name, default, New: TensorCount.Of(targets.Values.Select(target => target.shape)));
        using var weights = source.Weights[ModelPart.Temporal].For(temporal);
        if (AreAlike(source.UNet, config))
        {
            StateDict.Load(temporal, weights);
            return new LoadedPart(Name, TensorCount.Of(targets.Values.Select(target => target.shape)),
                LeftOut: TensorCount.Of(weights.LeftOut.Select(entry => entry.Shape)));
        }

        // Attention over the text is another layer than attention over the frames, even where their shapes are the same.
        bool otherContext = source.UNet.TemporalText != config.TemporalText;
        var taken = targets.Where(target => weights.Entries.TryGetValue(target.Key, out var entry) && entry.Shape.AsSpan().SequenceEqual(target.Value.shape)
            && !(otherContext && target.Key.Contains("temp_attentions.", StringComparison.Ordinal) && target.Key.Contains(".attn2.", StringComparison.Ordinal))).Select(target => target.Key).ToHashSet();
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        foreach (string name in taken)
            weights.CopyTo(name, targets[name]);
        return new LoadedPart(Name,
            TensorCount.Of(taken.Select(name => targets[name].shape)),
            TensorCount.Of(targets.Where(target => !taken.Contains(target.Key)).Select(target => target.Value.shape)),
            TensorCount.Of(weights.Entries.Values.Where(entry => !taken.Contains(entry.Name)).Concat(weights.LeftOut).Select(entry => entry.Shape)));
    }

    private static bool AreAlike(UNetConfig a, UNetConfig b)
        => a.Layout == b.Layout && a.TemporalText == b.TemporalText
        && (a.Layout != UNetLayout.StreamParallel || (a.TemporalWidthDivisor == b.TemporalWidthDivisor && a.Lateral == b.Lateral && a.Resampling == b.Resampling && a.JoinedLevels == b.JoinedLevels
            && a.TrainsSpace == b.TrainsSpace));
}
