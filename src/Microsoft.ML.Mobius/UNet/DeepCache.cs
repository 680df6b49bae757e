using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.UNet;

/// <summary>What the inner levels of a network computed, for the next calls to take instead (DeepCache, Ma et al. 2023, arXiv 2312.00858).</summary>
/// <param name="interval">Of so many calls in a row the first computes them; 1 for each.</param>
internal sealed class DeepCache(int interval) : IDisposable
{
    private int _calls;
    private (Tensor S, Tensor U)? _kept;

    /// <summary>What is kept of both streams, the caller's from now on, or null if this call is to compute it.</summary>
    public (Tensor S, Tensor U)? Next() => _calls++ % interval == 0 || _kept is not { } kept ? null : (kept.S.alias(), kept.U.alias());

    /// <summary>Keeps what a call computed.</summary>
    public void Keep(Tensor s, Tensor u)
    {
        if (interval == 1)
            return;
        Drop();
        _kept = (s.alias().DetachFromDisposeScope(), u.alias().DetachFromDisposeScope());
    }

    /// <summary>Begins anew: the next call is of another video.</summary>
    public void Clear()
    {
        Drop();
        _calls = 0;
    }

    public void Dispose() => Drop();

    private void Drop()
    {
        _kept?.S.Dispose();
        _kept?.U.Dispose();
        _kept = null;
    }
}
