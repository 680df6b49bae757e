using System.Globalization;

namespace Microsoft.ML.Mobius.Shapes;

/// <summary>What <see cref="AttributeEvaluator"/> found in a clip, and whether it is what was asked for.</summary>
/// <param name="Combination">What was asked for.</param>
/// <param name="Colour">Whether the colour is right.</param>
/// <param name="Shape">Whether the shape is right.</param>
/// <param name="Motion">Whether the motion is right.</param>
/// <param name="FoundColour">The name of the colour found, or <c>none</c>.</param>
/// <param name="FoundShape">The name of the shape found, or <c>none</c>.</param>
/// <param name="FoundMotion">The name of the motion found; <c>still</c> where the object neither moves nor changes size, <c>none</c> without an object.</param>
/// <param name="MotionPixels">The length of the centroid's way over the clip, in pixels.</param>
/// <param name="RadiusChange">The change of the radius over the clip in pixels: above 0 if the object grows.</param>
/// <param name="ShapeOverlap">How well the best template fits, 0..1 (intersection over union, mean over the frames).</param>
/// <param name="EmptyFrames">The number of frames without an object.</param>
public sealed record AttributeScores(
    ShapeCombination Combination, bool Colour, bool Shape, bool Motion, string FoundColour, string FoundShape, string FoundMotion,
    double MotionPixels, double RadiusChange, double ShapeOverlap, int EmptyFrames)
{
    /// <summary>Whether all three attributes are right.</summary>
    public bool All => Colour && Shape && Motion;

    /// <summary>The scores of many clips as a Markdown table: the share of right clips in percent, for trained and never-trained combinations.</summary>
    /// <param name="scores">The clips in any order.</param>
    public static string Table(IEnumerable<AttributeScores> scores)
    {
        ArgumentNullException.ThrowIfNull(scores);
        AttributeScores[] all = [.. scores];
        string[] rows =
        [
            "| combinations | clips | colour | shape | motion | all three |",
            "|---|---|---|---|---|---|",
            Row("seen in training", [.. all.Where(s => !s.Combination.IsNeverTrained)]),
            Row("never trained", [.. all.Where(s => s.Combination.IsNeverTrained)]),
            Row("all", all),
        ];
        return string.Join('\n', rows);
    }

    private static string Row(string name, AttributeScores[] scores)
    {
        var shares = AttributeShares.Of(scores);
        return $"| {name} | {scores.Length} | {Share(shares?.Colour)} | {Share(shares?.Shape)} | {Share(shares?.Motion)} | {Share(shares?.All)} |";

        static string Share(double? share) => share is { } known ? (100 * known).ToString("F1", CultureInfo.InvariantCulture) + " %" : "-";
    }
}
