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
internal sealed class Recomputation : IDisposable
{
    /// <summary>A part within a part is computed in so many pieces, so that what it needs for itself is there for one piece at a time.</summary>
    public const long Pieces = 8;

    private readonly Stack<(Action<Tensor> Carry, Tensor? Taken, Tensor Result)> _parts = new();

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
        _parts.Push((gradient => Carry(keep ? computed : part(), gradient), null, result));
        if (keep)
            computed.MoveToOuterDisposeScope();
        return result.MoveToOuterDisposeScope();
    }

    /// <summary>A part that computes each row for itself, for some rows at a time.</summary>
    public static Tensor InPieces(Func<Tensor, Tensor> part, Tensor x) => Passing.Through(() => cat([.. x.chunk(Pieces).Select(part)]));

    /// <summary>Computes a part within a part that is kept: unrecorded, and once more on the way back, which goes on from it through what was recorded before it.</summary>
    /// <param name="part">Computes each row for itself, and gives the same each time: it is called for some rows at a time, and once more by <see cref="Backward"/>.</param>
    /// <param name="x">All that it takes beside parameters, and taken by nothing else; rows along the first axis.</param>
    /// <returns>What it gives, a leaf that takes a gradient; lives till <see cref="Backward"/> is through it.</returns>
    public Tensor Run(Func<Tensor, Tensor> part, Tensor x)
    {
        using var scope = NewDisposeScope();
        Tensor result;
        using (no_grad())
            result = InPieces(part, x).detach().requires_grad_(true).DetachFromDisposeScope();
        var taken = x.alias().DetachFromDisposeScope();
        _parts.Push((gradient =>
        {
            var gradients = taken.detach().chunk(Pieces).Zip(gradient.chunk(Pieces), (piece, gradient) =>
            {
                using var inner = NewDisposeScope();
                var leaf = piece.detach().requires_grad_(true);
                Carry(part(leaf), gradient);
                return leaf.grad!.MoveToOuterDisposeScope();
            });
            Carry(taken, cat([.. gradients]));
        }, taken, result));
        return result;
    }

    /// <summary>
    /// Carries the gradient that the last result has been given through all parts, last to first, into the parameters, and disposes the results.
    /// </summary>
    /// <param name="passed">Called after each part, when its parameters have their gradients; gives whether to go on.</param>
    public void Backward(Func<bool>? passed = null)
    {
        while (_parts.TryPop(out var last))
        {
            using (var scope = NewDisposeScope())
            using (last.Taken)
            using (last.Result)
            {
                if (last.Result.grad is { } gradient)
                    last.Carry(gradient);
                last.Result.grad = null;
            }
            if (passed?.Invoke() == false)
                return;
        }
    }

    /// <summary>Lets go of what the way back has not come to.</summary>
    public void Dispose()
    {
        foreach (var (_, taken, result) in _parts)
        {
            taken?.Dispose();
            result.Dispose();
        }
    }

    private static void Carry(Tensor computed, Tensor gradient)
    {
        using (computed)
            if (computed.requires_grad)                                                  // the first may depend on nothing trained
                computed.backward([gradient]);
    }
}
