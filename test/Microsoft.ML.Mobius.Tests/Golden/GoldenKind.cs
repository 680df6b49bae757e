namespace Microsoft.ML.Mobius.Tests.GoldenCases;

/// <summary>One kind of golden data: which folders are of it, and how the product is held against them. A new kind is a new class, found by itself.</summary>
internal abstract class GoldenKind
{
    public static IReadOnlyList<GoldenKind> All { get; } = [.. typeof(GoldenKind).Assembly.GetTypes()
        .Where(type => type.IsSubclassOf(typeof(GoldenKind)) && !type.IsAbstract)
        .OrderBy(type => type.Name, StringComparer.Ordinal)
        .Select(type => (GoldenKind)Activator.CreateInstance(type)!)];

    /// <summary>Whether the folder holds data of this kind, by its files and what the JSON ones say.</summary>
    public abstract bool Fits(Golden golden);

    /// <summary>Computes what the folder holds once more and compares.</summary>
    public abstract void Check(Golden golden, Tolerances tolerances, Findings findings);
}
