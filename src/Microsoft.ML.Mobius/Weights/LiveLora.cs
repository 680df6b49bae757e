using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Weights;

/// <summary>A LoRA beside the weights, which stay as they are: every layer gives y + scale · alpha / rank · up down x, until this is disposed.</summary>
internal sealed class LiveLora : IDisposable
{
    private readonly List<Action> _hooks = [];
    private readonly List<Tensor> _tensors = [];

    /// <summary>Copies the pairs to the device and the type of their layers, which must not be moved from now on.</summary>
    /// <exception cref="NotSupportedException">A layer is a convolution over frames, or P of the temporal stream, which is computed in parts: a LoRA can only be merged into it.</exception>
    public LiveLora(LoraMatch match, double scale)
    {
        if (match.Layers.FirstOrDefault(layer => layer.Layer is not (Linear or Conv2d) || layer.Name.Contains(".temp_projections.", StringComparison.Ordinal)) is { Layer: not null } other)
            throw new NotSupportedException($"The LoRA {match.File} changes {other.Name}, which is a convolution over frames or computed in parts: it can only be merged.");

        var pairs = new Dictionary<string, (Tensor, Tensor)>();
        foreach (var (name, layer, pair) in match.Layers)
        {
            var weight = LoraMatch.Weight(layer);
            var (down, up) = (Beside(weight, pair.Down, [pair.Rank, .. weight.shape[1..]]), Beside(weight, pair.Up, [weight.shape[0], pair.Rank, .. weight.shape[2..].Select(_ => 1L)]));
            double factor = scale * pair.Alpha / pair.Rank;
            pairs.Add(name, (down, up));
            var hook = layer.register_forward_hook(layer is Conv2d convolution
                ? (_, x, y) => y + factor * nn.functional.conv2d(
                    nn.functional.conv2d(x, down, null, convolution.stride, convolution.padding, convolution.dilation, 1), up, null, null, null, null, 1)
                : (_, x, y) => y + factor * nn.functional.linear(nn.functional.linear(x, down), up));
            _hooks.Add(hook.remove);
        }
        Pairs = pairs;
    }

    /// <summary>Down and up by the layer's full name, as they are used: where they require a gradient, they get one.</summary>
    public IReadOnlyDictionary<string, (Tensor Down, Tensor Up)> Pairs { get; }

    public void Dispose()
    {
        _hooks.ForEach(remove => remove());
        _tensors.ForEach(tensor => tensor.Dispose());
        _hooks.Clear();
        _tensors.Clear();
    }

    private Tensor Beside(Tensor weight, Tensor matrix, long[] shape)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var copy = empty(shape, weight.dtype, weight.device).DetachFromDisposeScope();
        _tensors.Add(copy);
        copy.copy_(matrix.reshape(shape));
        return copy;
    }
}
