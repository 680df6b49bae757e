using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Torch;

/// <summary>
/// Activation checkpointing (Chen et al. 2016, arXiv 1604.06174): a network is computed part by part and not recorded; only what goes from part to part is
/// kept. On the way back each part is computed once more, and recorded this time. The gradients are the same: to the bit, where no part uses a result twice, or
/// else but for the order in which three and more are summed.
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
    /// <returns>What it gives, a leaf that takes a gradient; belongs to the caller's scope.</returns>
    public Tensor Run(Func<Tensor> part)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var result = part().detach().requires_grad_(true);
        _parts.Push((part, result));
        return result.MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Carries the gradient that the last result has been given through all parts, last to first, into the parameters, and disposes the results.
    /// </summary>
    public void Backward()
    {
        while (_parts.TryPop(out var last))
        {
            using var scope = NewDisposeScope();
            using var result = last.Result;
            if (result.grad is { } gradient && last.Part() is { requires_grad: true } again)        // the first may depend on nothing trained
                again.backward([gradient]);
            result.grad = null;
        }
    }
}
