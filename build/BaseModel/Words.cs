namespace Microsoft.ML.Mobius.BaseModel;

/// <summary>What the tokenizer learns its merges from: the captions of the stills, and common words of sticker captions.</summary>
internal static class Words
{
    private const string Common = """
        a an the of on in with and at to from over under face smiling smile laughing crying angry sad happy wink kiss heart love hand hands finger
        thumb up down left right pointing palm wave clap fist ok peace eye eyes mouth nose ear tongue cat dog bear fox lion tiger cow pig mouse
        rabbit horse bird chicken duck fish whale snake turtle bug bee butterfly flower tree leaf rose sun moon star cloud rain snow fire water
        wind rainbow earth red orange yellow green blue purple pink black white brown cyan magenta circle square triangle cross moving growing
        shrinking spinning jumping running falling flying dancing walking eating drinking sleeping food pizza cake bread apple banana coffee beer
        car bus train plane rocket boat bike ball game music drum guitar clock phone light book money gift party balloon trophy house door
        man woman boy girl baby person people animated sticker video drawing picture photo small big old new good bad fast slow hot cold
        """;

    private static readonly double[] s_thirds = [0.2, 0.5, 0.8];

    /// <summary>Where in a picture a place is, as a caption says it: "at the top left", "on the right", "in the middle", ...</summary>
    /// <param name="x">From the left, 0 to 1.</param>
    /// <param name="y">From the top, 0 to 1.</param>
    public static string PlaceOf(double x, double y)
    {
        const double Edge = 0.4;
        string side = x < Edge ? "left" : x > 1 - Edge ? "right" : "", height = y < Edge ? "top" : y > 1 - Edge ? "bottom" : "";
        return (side, height) switch
        {
            ("", "") => "in the middle",
            (_, "") => $"on the {side}",
            ("", _) => $"at the {height}",
            _ => $"at the {height} {side}",
        };
    }

    public static IEnumerable<string> Captions()
        => Shapes.ShapeSpec.Trained.Select(combination => combination.Caption)
            .Concat(Common.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).SelectMany(word => Enumerable.Repeat(word, 4)))
            .Concat(from x in s_thirds from y in s_thirds from _ in Enumerable.Range(0, 10) select PlaceOf(x, y))
            .Concat(Enumerable.Repeat("an animated sticker of a sticker", 20));
}
