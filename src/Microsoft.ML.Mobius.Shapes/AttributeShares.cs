namespace Microsoft.ML.Mobius.Shapes;

/// <summary>The share of videos with the right attribute, 0..1.</summary>
public sealed record AttributeShares(int Videos, double Colour, double Shape, double Motion, double All)
{
    /// <summary>Null without any video.</summary>
    public static AttributeShares? Of(IReadOnlyCollection<AttributeScores> scores) => scores.Count == 0 ? null : new(
        scores.Count, scores.Average(s => s.Colour ? 1.0 : 0), scores.Average(s => s.Shape ? 1.0 : 0), scores.Average(s => s.Motion ? 1.0 : 0),
        scores.Average(s => s.All ? 1.0 : 0));
}
