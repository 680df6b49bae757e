using System.Globalization;
using System.Text;

namespace Microsoft.ML.Mobius.Models;

/// <summary>A number of tensors and of the values in them.</summary>
internal readonly record struct TensorCount(int Tensors, long Parameters)
{
    public static TensorCount Of(IEnumerable<long[]> shapes)
        => shapes.Aggregate(default(TensorCount), (sum, shape) => new(sum.Tensors + 1, sum.Parameters + shape.Aggregate(1L, (a, b) => a * b)));
}

/// <summary>What became of the weights of one part of a model when it was opened.</summary>
/// <param name="Name">The part, as unet.temporal.</param>
/// <param name="Loaded">Weights of the part that were read.</param>
/// <param name="New">Weights of the part that nothing was there for: they start as in training from an image model.</param>
/// <param name="LeftOut">Stored tensors that the part has no place for.</param>
internal sealed record LoadedPart(string Name, TensorCount Loaded, TensorCount New = default, TensorCount LeftOut = default)
{
    /// <summary>One table of all parts.</summary>
    public static string Table(IEnumerable<LoadedPart> parts)
    {
        var table = new StringBuilder($"{"",-16}{"loaded",22}{"new",22}{"left out",22}\n{"",-16}");
        for (int i = 0; i < 3; i++)
            table.Append($"{"tensors",8}{"parameters",14}");
        foreach (var (name, loaded, added, leftOut) in parts)
        {
            table.Append(CultureInfo.InvariantCulture, $"\n{name,-16}");
            foreach (var count in new[] { loaded, added, leftOut })
                table.Append(CultureInfo.InvariantCulture, $"{count.Tensors,8:N0}{count.Parameters,14:N0}");
        }
        return table.ToString();
    }
}
