namespace Microsoft.ML.Mobius.Shapes;

/// <summary>What one clip shows, as indices into <see cref="ShapeSpec.Colours"/>, <see cref="ShapeSpec.Shapes"/> and <see cref="ShapeSpec.Motions"/>.</summary>
public readonly record struct ShapeCombination(int Colour, int Shape, int Motion)
{
    /// <summary>Whether no training clip ever shows this colour, shape and motion together.</summary>
    public bool IsNeverTrained => (Colour + 2 * Shape + 3 * Motion) % 5 == 0;

    /// <summary>The name of the colour, such as <c>red</c>.</summary>
    public string ColourName => ShapeSpec.Colours[Colour].Name;

    /// <summary>The name of the shape, such as <c>circle</c>.</summary>
    public string ShapeName => ShapeSpec.Shapes[Shape];

    /// <summary>The name of the motion, such as <c>moving left</c>.</summary>
    public string MotionName => ShapeSpec.Motions[Motion];

    /// <summary>The sentence of the clip: <c>a {colour} {shape} {motion}</c>.</summary>
    public string Caption => $"a {ColourName} {ShapeName} {MotionName}";

    /// <inheritdoc/>
    public override string ToString() => Caption;
}
