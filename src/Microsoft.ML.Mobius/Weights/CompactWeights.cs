using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Weights;

/// <summary>
/// Holds weights of frozen linear and convolution layers in 16 bits, until this is disposed: those that float16 or bfloat16 hold without loss, as published
/// weights mostly are. Each is float32 while its layer computes, so that all numbers are what they were; between, its storage is one element.
/// </summary>
/// <remarks>Several threads may compute at a time. Nothing may be recorded for a backward pass, which would keep or miss the weights.</remarks>
internal sealed class CompactWeights : IDisposable
{
    private readonly List<CompactWeight> _weights = [];

    /// <param name="module">Its weights must neither be trained, read, nor moved from now on.</param>
    public CompactWeights(nn.Module module)
    {
        using var _ = no_grad();
        foreach (var (_, layer) in module.named_modules())
        {
            using var scope = NewDisposeScope();
            if (layer is Linear or Conv2d && Lossless(LoraMatch.Weight(layer)) is { } half)
                _weights.Add(new CompactWeight((nn.Module<Tensor, Tensor>)layer, half.DetachFromDisposeScope()));
        }
    }

    /// <summary>Weights held in 16 bits.</summary>
    public int Count => _weights.Count;

    /// <summary>Bytes that are saved where none of the layers computes.</summary>
    public long BytesSaved => _weights.Sum(weight => weight.BytesSaved);

    public void Dispose()
    {
        _weights.ForEach(weight => weight.Dispose());
        _weights.Clear();
    }

    /// <summary>The same numbers in 16 bits; null if there are none, or if it is no float32.</summary>
    private static Tensor? Lossless(Tensor weight) => weight.dtype != ScalarType.Float32 ? null
        : new[] { ScalarType.Float16, ScalarType.BFloat16 }.Select(type => weight.to(type))
            .FirstOrDefault(half => half.to(ScalarType.Float32).equal(weight).all().item<bool>());

    private sealed class CompactWeight : IDisposable
    {
        private readonly object _lock = new();
        private readonly Tensor _weight, _half;
        private readonly Action[] _hooks;
        private int _users;

        public CompactWeight(nn.Module<Tensor, Tensor> layer, Tensor half)
        {
            (_weight, _half) = (LoraMatch.Weight(layer), half);
            PutAway();
            _hooks = [layer.register_forward_pre_hook(Take).remove, layer.register_forward_hook(Release).remove];
        }

        public long BytesSaved => 2 * _half.numel();

        public void Dispose()
        {
            foreach (var remove in _hooks)
                remove();
            Restore();
            _half.Dispose();
        }

        private Tensor Take(nn.Module<Tensor, Tensor> _, Tensor x)
        {
            lock (_lock)
                if (_users++ == 0)
                    Restore();
            return x;
        }

        private Tensor Release(nn.Module<Tensor, Tensor> _, Tensor x, Tensor y)
        {
            lock (_lock)
                if (--_users == 0)
                    PutAway();
            return y;
        }

        private void Restore()
        {
            using var noGrad = no_grad();
            using var scope = NewDisposeScope();
            _weight.set_(_half.to(ScalarType.Float32));
        }

        /// <summary>One element that has the weight's shape.</summary>
        private void PutAway()
        {
            using var noGrad = no_grad();
            using var scope = NewDisposeScope();
            _weight.set_(zeros(1, device: _half.device).expand(_half.shape));
        }
    }
}
