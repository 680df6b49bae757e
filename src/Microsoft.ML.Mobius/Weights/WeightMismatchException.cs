namespace Microsoft.ML.Mobius.Weights;

/// <summary>Weights do not fit the model they were to be loaded into; the message lists every difference, the first 20 of each kind.</summary>
public sealed class WeightMismatchException : Exception
{
    private const int Shown = 20;

    /// <summary>Creates the exception with a message of its own.</summary>
    /// <param name="message">What does not fit.</param>
    public WeightMismatchException(string message)
        : base(message)
    {
    }

    internal WeightMismatchException(string what, IReadOnlyList<string> missing, IReadOnlyList<string> unexpected, IReadOnlyList<string> unfit)
        : base($"The weights of {what} do not fit the model:"
            + Lines("missing", missing) + Lines("unexpected", unexpected) + Lines("of another shape or type", unfit))
    {
        Missing = missing;
        Unexpected = unexpected;
        Unfit = unfit;
    }

    /// <summary>The names the model has and the weights lack; all of them, in the model's order.</summary>
    public IReadOnlyList<string> Missing { get; } = [];

    /// <summary>The names the weights have and the model does not; all of them, in the weights' order.</summary>
    public IReadOnlyList<string> Unexpected { get; } = [];

    /// <summary>The tensors whose shape or type differs, each with its name, what the model expects and what was found.</summary>
    public IReadOnlyList<string> Unfit { get; } = [];

    private static string Lines(string kind, IReadOnlyList<string> names) => names.Count == 0 ? "" :
        $"{Environment.NewLine}{names.Count} {kind}: {string.Join(", ", names.Take(Shown))}"
        + (names.Count > Shown ? $" and {names.Count - Shown} more" : "");
}
