using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Distributed;

/// <summary>
/// Sums the gradients of all ranks, bucket by bucket, from the last layers on: a bucket is on its way as soon as its gradients are there, while those of the layers before
/// are still being made (Li et al. 2020, arXiv 2006.15704).
/// </summary>
/// <remarks>
/// What is in which bucket follows from the parameters alone, so that the order of summation, and with it every bit, is the same in each run of so many ranks. Behind the
/// gradients a bucket has a number for each parameter, 1 if it has a gradient: one that has none on any rank has none afterwards. The sums, which the
/// gradients are views of in the end, are all the memory that stays; a gradient is given up once it is in its bucket.
/// </remarks>
internal sealed class GradientBuckets : IDisposable
{
    /// <summary>Of a bucket; smaller ones would cost more in latency than is won by beginning early.</summary>
    public const long MostBytes = 25 << 20;

    /// <summary>In a small model, so that it has something to begin early with, too.</summary>
    private const int Fewest = 8;

    private readonly ProcessGroup _group;
    private readonly IReadOnlyList<Parameter> _parameters;
    private readonly Bucket[] _buckets;
    private readonly List<int[]> _parts = [];                                             // the parameters of each part of the network, as they were passed
    private readonly HashSet<int> _seen = [];
    private readonly Lock _gate = new();
    private IReadOnlyList<Tensor?> _earlier = [];
    private int[] _passes = [];
    private int _ready, _begun;

    public GradientBuckets(ProcessGroup group, IReadOnlyList<Parameter> parameters)
    {
        (_group, _parameters) = (group, parameters);
        _buckets = [.. Ranges(parameters).Select(range => new Bucket(range, parameters))];
    }

    /// <summary>Bytes that each rank brings into a step's sums.</summary>
    public long Bytes => _buckets.Sum(bucket => bucket.Sums.numel()) * sizeof(float);

    /// <summary>Whether all gradients that this rank brought in the last step were finite.</summary>
    public bool IsFinite { get; private set; }

    /// <summary>Begins a step.</summary>
    /// <param name="earlier">By parameter, sums of the gradients of earlier batches, which are added; filled in before the first <see cref="Pass"/>.</param>
    public void Begin(IReadOnlyList<Tensor?> earlier)
    {
        (_earlier, _passes, _ready, _begun, IsFinite) = (earlier, [0], 0, 0, true);
        _parts.Clear();
        _seen.Clear();
        foreach (var bucket in _buckets)
            bucket.Missing = bucket.Count;
    }

    /// <summary>To be called when the last batch goes back through the network in several ways at a time, before any of them does.</summary>
    public void Expect(int ways) => _passes = new int[ways];

    /// <summary>To be called on each way whenever a part of the network has its gradients; the parts come in the same order on each.</summary>
    /// <remarks>
    /// What belongs to a part is seen by the way that passes it first: none has come further, so that what is new is of this part. The part is whole when all have passed it.
    /// </remarks>
    /// <returns>True: to go on.</returns>
    public bool Pass(int way)
    {
        lock (_gate)
        {
            using var scope = NewDisposeScope();
            if (_passes[way]++ == _parts.Count)
                _parts.Add([.. Enumerable.Range(0, _parameters.Count).Where(i => !_seen.Contains(i) && _parameters[i].grad is not null)]);
            _seen.UnionWith(_parts[_passes[way] - 1]);
            for (; _ready < _passes.Min(); _ready++)
                foreach (int parameter in _parts[_ready])
                    Array.Find(_buckets, bucket => bucket.Has(parameter))!.Missing--;
            while (_begun < _buckets.Length && _buckets[_begun].Missing == 0)
                BeginSum(_buckets[_begun++]);
            foreach (var bucket in _buckets.Take(_begun))
                _group.IsDone(ref bucket.Request);
            return true;
        }
    }

    /// <summary>Waits for all sums, and gives them to the parameters.</summary>
    public void End()
    {
        using var scope = NewDisposeScope();
        while (_begun < _buckets.Length)
            BeginSum(_buckets[_begun++]);
        foreach (var bucket in _buckets)
        {
            _group.Finish(ref bucket.Request);
            bucket.Own?.Dispose();
            float[] isThere = [.. bucket.Sums.narrow(0, bucket.Starts[^1], bucket.Count).data<float>()];
            var sums = bucket.Sums.to(_parameters[bucket.First].device, non_blocking: true);
            for (int i = 0; i < bucket.Count; i++)
            {
                var parameter = _parameters[bucket.First + i];
                parameter.grad = isThere[i] > 0 ? sums.narrow(0, bucket.Starts[i], parameter.numel()).view(parameter.shape) : null;
            }
        }
    }

    public void Dispose()
    {
        foreach (var bucket in _buckets)
        {
            bucket.Sums.Dispose();
            bucket.Pinned?.Dispose();
        }
    }

    /// <summary>Parameters in a row, the last ones first; in all of them the same, whatever has a gradient.</summary>
    private static IEnumerable<Range> Ranges(IReadOnlyList<Parameter> parameters)
    {
        long most = Math.Min(MostBytes / sizeof(float), parameters.Sum(parameter => parameter.numel()) / Fewest), count = 0;
        int end = parameters.Count;
        for (int i = end - 1; i >= 0; i--)
        {
            if (count > 0 && count + parameters[i].numel() > most)
            {
                yield return (i + 1)..end;
                (end, count) = (i + 1, 0);
            }
            count += parameters[i].numel();
        }
        yield return 0..end;
    }

    /// <summary>One copy for a bucket; from a GPU it is waited for, since the sum begins with it.</summary>
    private void BeginSum(Bucket bucket)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var isThere = new float[bucket.Count];
        var parts = new List<Tensor>();
        for (int i = bucket.First; i < bucket.First + bucket.Count; i++)
        {
            var (parameter, earlier) = (_parameters[i], _earlier[i]);
            var gradient = parameter.grad is { } last ? earlier is null ? last : last.add_(earlier) : earlier;
            isThere[i - bucket.First] = gradient is null ? 0 : 1;
            parts.Add(gradient?.flatten() ?? zeros(parameter.numel(), parameter.dtype, parameter.device));
        }
        var own = cat([.. parts, tensor(isThere, device: parts[0].device)]);
        bucket.Own = (bucket.Pinned?.copy_(own) ?? own).DetachFromDisposeScope();
        for (int i = bucket.First; i < bucket.First + bucket.Count; i++)
            _parameters[i].grad = null;
        IsFinite &= double.IsFinite(bucket.Own.sum().item<float>());
        bucket.Request = _group.BeginSum(bucket.Own, bucket.Sums);
    }

    /// <summary>Gradients of parameters in a row.</summary>
    private sealed class Bucket
    {
        public Bucket(Range range, IReadOnlyList<Parameter> parameters)
        {
            (First, Count) = range.GetOffsetAndLength(parameters.Count);
            Starts = new long[Count + 1];
            for (int i = 0; i < Count; i++)
                Starts[i + 1] = Starts[i] + parameters[First + i].numel();
            using var scope = NewDisposeScope();
            bool onGpu = parameters[First].device_type != DeviceType.CPU;
            Tensor Made() => (onGpu ? zeros(Starts[^1] + Count).pin_memory() : zeros(Starts[^1] + Count)).DetachFromDisposeScope();
            (Sums, Pinned) = (Made(), onGpu ? Made() : null);
        }

        public readonly int First, Count;

        /// <summary>Where each gradient begins, and where they end.</summary>
        public readonly long[] Starts;

        /// <summary>The summed gradients, one after the other, and a number for each that says on how many ranks it is there; on the CPU.</summary>
        public readonly Tensor Sums;

        /// <summary>Where those of a GPU come to; null on the CPU.</summary>
        public readonly Tensor? Pinned;

        /// <summary>What this rank brings, as long as it is needed.</summary>
        public Tensor? Own;

        public nint Request = OpenMpi.NoRequest;

        /// <summary>Gradients that are not there yet.</summary>
        public int Missing;

        public bool Has(int parameter) => parameter >= First && parameter < First + Count;
    }
}
