using Microsoft.ML.Mobius.Shapes;

namespace Microsoft.ML.Mobius.Samples.Shapes;

/// <summary>Chooses combinations for evaluation.</summary>
public static class PromptSet
{
    /// <summary>
    /// Chooses half of the prompts among the trained combinations and half among those never trained (an odd one is trained), in random
    /// order. No combination comes twice before all of its half have come, and colours, shapes and motions come about equally often.
    /// </summary>
    /// <param name="random">The same state gives the same choice.</param>
    /// <param name="count">How many, at least 1.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="count"/> is below 1.</exception>
    public static IReadOnlyList<ShapeCombination> Choose(Random random, int count)
    {
        ArgumentNullException.ThrowIfNull(random);
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        ShapeCombination[] chosen =
        [
            .. Balanced(random, ShapeSpec.Trained, count - count / 2),
            .. Balanced(random, ShapeSpec.NeverTrained, count / 2),
        ];
        random.Shuffle(chosen);
        return chosen;
    }

    // Takes, again and again, the combination whose attributes were taken least.
    private static IEnumerable<ShapeCombination> Balanced(Random random, IReadOnlyList<ShapeCombination> among, int count)
    {
        int[] colours = new int[ShapeSpec.Colours.Count], shapes = new int[ShapeSpec.Shapes.Count], motions = new int[ShapeSpec.Motions.Count];
        List<ShapeCombination> left = [];
        for (int i = 0; i < count; i++)
        {
            if (left.Count == 0)
            {
                ShapeCombination[] order = [.. among];
                random.Shuffle(order);
                left = [.. order];
            }
            ShapeCombination next = left.MinBy(c => colours.Length * colours[c.Colour] + shapes.Length * shapes[c.Shape] + motions.Length * motions[c.Motion]);
            left.Remove(next);
            colours[next.Colour]++;
            shapes[next.Shape]++;
            motions[next.Motion]++;
            yield return next;
        }
    }
}
