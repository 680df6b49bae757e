namespace Microsoft.ML.Mobius.Shapes;

/// <summary>A named colour; channels 0..255.</summary>
public readonly record struct ShapeColour(string Name, byte Red, byte Green, byte Blue);

/// <summary>
/// The clips that samples/Shapes draws: one object in one of 6 colours, 4 shapes and 6 motions on white. About a fifth of the 144 combinations
/// is never trained, while each of their colours, shapes, motions and pairs of these is: whoever draws them has learned to combine.
/// </summary>
public static class ShapeSpec
{
    /// <summary>Frame width in pixels.</summary>
    public const int Width = 64;

    /// <summary>Frame height in pixels.</summary>
    public const int Height = 64;

    /// <summary>Frames per clip.</summary>
    public const int FrameCount = 8;

    /// <summary>Frames per second.</summary>
    public const double FrameRate = 8;

    /// <summary>The six colours.</summary>
    public static IReadOnlyList<ShapeColour> Colours { get; } =
    [
        new("red", 220, 40, 40), new("orange", 240, 150, 30), new("green", 40, 170, 60),
        new("cyan", 40, 190, 210), new("blue", 50, 80, 220), new("magenta", 210, 50, 200),
    ];

    /// <summary>The four shapes.</summary>
    public static IReadOnlyList<string> Shapes { get; } = ["circle", "square", "triangle", "cross"];

    /// <summary>The six motions.</summary>
    public static IReadOnlyList<string> Motions { get; } =
        ["moving left", "moving right", "moving up", "moving down", "growing", "shrinking"];

    /// <summary>All 144 combinations: colour slowest, motion fastest.</summary>
    public static IReadOnlyList<ShapeCombination> All { get; } =
    [
        .. from colour in Enumerable.Range(0, 6)
           from shape in Enumerable.Range(0, 4)
           from motion in Enumerable.Range(0, 6)
           select new ShapeCombination(colour, shape, motion),
    ];

    /// <summary>The combinations that training clips are drawn of.</summary>
    public static IReadOnlyList<ShapeCombination> Trained { get; } = [.. All.Where(c => !c.IsNeverTrained)];

    /// <summary>The combinations that no training clip shows.</summary>
    public static IReadOnlyList<ShapeCombination> NeverTrained { get; } = [.. All.Where(c => c.IsNeverTrained)];

    private static readonly Dictionary<string, ShapeCombination> ByCaption = All.ToDictionary(c => c.Caption, StringComparer.OrdinalIgnoreCase);

    /// <summary>Reads a caption of the form <c>a {colour} {shape} {motion}</c>, in any case; false for any other text.</summary>
    public static bool TryParse(string? caption, out ShapeCombination combination)
    {
        combination = default;
        return caption is not null && ByCaption.TryGetValue(caption.Trim(), out combination);
    }
}
