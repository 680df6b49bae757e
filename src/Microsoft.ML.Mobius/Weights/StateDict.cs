using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Weights;

/// <summary>Moves weights into and out of a module by name, strictly: TorchSharp's own loading would broadcast and convert silently.</summary>
internal static class StateDict
{
    /// <summary>Copies <paramref name="weights"/>, which are not disposed, into the module's parameters and persistent buffers.</summary>
    /// <param name="module">On any device; keeps its own types. Unchanged if anything does not fit.</param>
    /// <param name="weights">Exactly the module's names and shapes; a floating tensor may be of another floating type.</param>
    /// <param name="what">What is being loaded, as a folder or file name, for the message.</param>
    /// <exception cref="WeightMismatchException">A name is missing or unexpected, or a shape or type differs.</exception>
    public static void Load(nn.Module module, IReadOnlyDictionary<string, Tensor> weights, string what)
    {
        var targets = module.state_dict();
        var missing = targets.Keys.Where(name => !weights.ContainsKey(name)).ToList();
        var unexpected = weights.Keys.Where(name => !targets.ContainsKey(name)).ToList();
        var unfit = targets.Where(pair => weights.TryGetValue(pair.Key, out var found) && !Fits(pair.Value, found))
            .Select(pair => $"{pair.Key} (expected {Describe(pair.Value)}, found {Describe(weights[pair.Key])})").ToList();
        if (missing.Count + unexpected.Count + unfit.Count > 0)
            throw new WeightMismatchException(what, missing, unexpected, unfit);

        using var noGrad = no_grad();
        foreach (var (name, target) in targets)
        {
            using var scope = NewDisposeScope();
            target.copy_(weights[name]);
        }
    }

    /// <summary>The module's parameters and persistent buffers by name, in its own order: not copies, so never to be disposed.</summary>
    public static IEnumerable<KeyValuePair<string, Tensor>> Of(nn.Module module) => module.state_dict();

    private static bool Fits(Tensor target, Tensor found) => target.shape.AsSpan().SequenceEqual(found.shape)
        && (target.dtype == found.dtype || (target.is_floating_point() && found.is_floating_point()));

    private static string Describe(Tensor tensor) => $"{tensor.dtype} [{string.Join(", ", tensor.shape)}]";
}
