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
        var found = weights.ToDictionary(pair => pair.Key, pair => new WeightEntry(pair.Key, pair.Value.dtype, pair.Value.shape));
        foreach (var (name, target) in Fitting(module, found, [], what))
        {
            using var noGrad = no_grad();
            using var scope = NewDisposeScope();
            target.copy_(weights[name]);
        }
    }

    /// <summary>Copies a file's tensors, one by one and each in chunks, into the module's parameters and persistent buffers.</summary>
    /// <param name="module">On any device; keeps its own types. Unchanged if anything does not fit.</param>
    /// <param name="weights">Renamed, exactly the module's names and shapes; a floating tensor may be of another floating type.</param>
    /// <param name="rename">Gives the module's name for a stored one, null to leave the tensor out knowingly; default: the same.</param>
    /// <exception cref="WeightMismatchException">A name is missing, unexpected or there twice, or a shape or type differs.</exception>
    /// <exception cref="InvalidDataException">The file was cut off since it was opened.</exception>
    public static void Load(nn.Module module, WeightFile weights, Func<string, string?>? rename = null)
    {
        var stored = new OrderedDictionary<string, WeightEntry>();
        var twice = new List<string>();
        foreach (var entry in weights.Entries.Values)
            if ((rename is null ? entry.Name : rename(entry.Name)) is { } name && !stored.TryAdd(name, entry))
                twice.Add($"{entry.Name} (as {name}, which {stored[name].Name} is)");
        foreach (var (name, target) in Fitting(module, stored, twice, weights.Name))
            weights.CopyTo(stored[name].Name, target);
    }

    /// <summary>The module's parameters and persistent buffers by name, in its own order: not copies, so never to be disposed.</summary>
    public static IEnumerable<KeyValuePair<string, Tensor>> Of(nn.Module module) => module.state_dict();

    /// <summary>The module's tensors, once all that was found is known to fit them.</summary>
    private static Dictionary<string, Tensor> Fitting(
        nn.Module module, IReadOnlyDictionary<string, WeightEntry> found, IReadOnlyList<string> twice, string what)
    {
        var targets = module.state_dict();
        var missing = targets.Keys.Where(name => !found.ContainsKey(name)).ToList();
        var unexpected = found.Where(pair => !targets.ContainsKey(pair.Key)).Select(pair => pair.Value.Name).Concat(twice).ToList();
        var unfit = targets.Where(pair => found.TryGetValue(pair.Key, out var stored) && !Fits(pair.Value, stored))
            .Select(pair => Unfit(pair.Key, pair.Value, found[pair.Key])).ToList();
        return missing.Count + unexpected.Count + unfit.Count == 0 ? targets
            : throw new WeightMismatchException(what, missing, unexpected, unfit);
    }

    private static bool Fits(Tensor target, WeightEntry stored) => target.shape.AsSpan().SequenceEqual(stored.Shape)
        && (target.dtype == stored.Type || (target.is_floating_point() && is_floating_point(stored.Type)));

    private static string Unfit(string name, Tensor target, WeightEntry stored)
        => $"{name} (expected {target.dtype} [{string.Join(", ", target.shape)}], found {stored.Type} [{string.Join(", ", stored.Shape)}]"
            + (stored.Name == name ? ")" : $" as {stored.Name})");
}
