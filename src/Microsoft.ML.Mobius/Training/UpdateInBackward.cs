using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>
/// One step that moves weights while its gradient goes back through the network, part by part, so that all gradients are never there at once (fused update: Lv et al. 2023,
/// arXiv 2306.09782). A part's weights take part in nothing that is still to come, so that the step is the same, to the bit.
/// </summary>
/// <remarks>Whether a part may be moved must be known before it is: a GPU is waited for once a part, where any other step waits once.</remarks>
internal sealed class UpdateInBackward(TrainingState state, double learningRate)
{
    private readonly HashSet<int> _waiting = [.. Enumerable.Range(0, state.Parameters.Count)];
    private double _squares;

    /// <summary>The norm of the gradient so far.</summary>
    public double Norm => Math.Sqrt(_squares);

    /// <summary>How many tensors were moved so far.</summary>
    public int Moved => state.Parameters.Count - _waiting.Count;

    /// <summary>Moves those weights whose gradients are there, and forgets these.</summary>
    /// <returns>Whether to go on; if not, a gradient is not finite, and none of these was moved.</returns>
    public bool Take()
    {
        using var scope = NewDisposeScope();
        int[] ready = [.. _waiting.Where(i => state.Parameters[i].grad is not null)];
        _squares += Math.Pow(GradientNorm.Of(ready.Select(i => state.Parameters[i])).item<float>(), 2);
        if (!double.IsFinite(_squares))
            return false;
        foreach (int i in ready)
        {
            state.Move(i, learningRate);
            state.Parameters[i].grad = null;
            _waiting.Remove(i);
        }
        return true;
    }

    /// <summary>To be called in the end.</summary>
    /// <exception cref="InvalidOperationException">A weight is in two parts of the network, so that it was moved by a part of its gradient.</exception>
    public void End()
    {
        using var scope = NewDisposeScope();
        for (int i = 0; i < state.Parameters.Count; i++)
            if (!_waiting.Contains(i) && state.Parameters[i].grad is not null)
                throw new InvalidOperationException($"'{state.NameOf(i)}' is used by two parts of the network and cannot be moved while its gradient is made.");
    }
}
