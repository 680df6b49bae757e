using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Torch;

/// <summary>Computations whose own intermediate results go as soon as their result is there, but for what autograd keeps of them.</summary>
internal static class Passing
{
    /// <param name="compute">Gives a tensor that is new, and none of those that it takes.</param>
    /// <returns>What it gives; belongs to the caller's scope.</returns>
    public static Tensor Through(Func<Tensor> compute)
    {
        using var scope = NewDisposeScope();
        return compute().MoveToOuterDisposeScope();
    }

    /// <summary>x through layers, one after the other; what lies between two of them goes once the second has taken it.</summary>
    /// <param name="x">Stays.</param>
    /// <param name="layers">Each gives a new tensor.</param>
    public static Tensor Along(Tensor x, params IEnumerable<Func<Tensor, Tensor>> layers)
    {
        var h = x;
        foreach (var layer in layers)
        {
            var next = Through(() => layer(h));
            if (!ReferenceEquals(h, x))
                h.Dispose();
            h = next;
        }
        return h;
    }
}
