using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Torch;

/// <summary>
/// Activation checkpointing (Chen et al. 2016, arXiv 1604.06174): a network is computed part by part and not recorded; only what goes from part to part is
/// kept. On the way back each part is computed once more, and recorded this time, unless it is cheap to keep and was recorded at once. The gradients are the same: to
/// the bit, where no part uses a result twice, or else but for the order in which three and more are summed.
/// </summary>
/// <remarks>
/// A list of parts instead of an autograd function that recomputes: an exception in such a function, called back from native code, would end the process.
/// </remarks>
internal sealed class Recomputation
{
    private readonly Stack<(Func<Tensor> Part, Tensor Result)> _parts = new();

    /// <summary>Computes a part.</summary>
    /// <param name="part">
    /// Gives the same each time: it is called once more by <see cref="Backward"/>. Of what earlier parts gave it uses their results alone, which must live till then.
    /// </param>
    /// <param name="keep">Whether it is recorded at once, all it needs kept, and not computed once more.</param>
    /// <returns>What it gives, a leaf that takes a gradient; belongs to the caller's scope.</returns>
    public Tensor Run(Func<Tensor> part, bool keep)
    {
        using var scope = NewDisposeScope();
        using var unrecorded = keep ? null : no_grad();
        var computed = part();
        var result = computed.detach().requires_grad_(true);
        _parts.Push((keep ? () => computed : part, result));
        if (keep)
            computed.MoveToOuterDisposeScope();
        return result.MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Carries the gradient that the last result has been given through all parts, last to first, into the parameters, and disposes the results.
    /// </summary>
    /// <param name="passed">Called after each part, when its parameters have their gradients; gives whether to go on.</param>
    public void Backward(Func<bool>? passed = null)
    {
        while (_parts.TryPop(out var last))
        {
            Carry(last.Part, last.Result);
            if (passed?.Invoke() == false)
                return;
        }
    }

    private static void Carry(Func<Tensor> part, Tensor result)
    {
        using var scope = NewDisposeScope();
        using var leaf = result;
        if (leaf.grad is { } gradient)
        {
            using var computed = part();
            if (computed.requires_grad)                                                  // the first may depend on nothing trained
                computed.backward([gradient]);
        }
        leaf.grad = null;
    }
}
