using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Weights;

/// <summary>
/// A LoRA in training: beside each frozen linear layer a pair of thin matrices, so that it gives y + α / r · up down x, until this is disposed (Hu et al. 2021,
/// arXiv 2106.09685). It starts as nothing: down is drawn, as diffusers draws it, with a deviation of 1 / r, and up is 0.
/// </summary>
internal sealed class TrainableLora : nn.Module
{
    private readonly List<(string Name, Linear Layer, Parameter Down, Parameter Up)> _layers = [];
    private readonly List<Action> _hooks = [];
    private readonly double _alpha;

    /// <param name="layers">Linear layers of the U-Net by their published names; they must not be moved from now on.</param>
    /// <param name="rank">r.</param>
    /// <param name="alpha">α.</param>
    /// <param name="generator">Of the CPU; draws the first weights.</param>
    public TrainableLora(IEnumerable<(string Name, Linear Layer)> layers, int rank, double alpha, Generator generator) : base(nameof(TrainableLora))
    {
        _alpha = alpha;
        foreach (var (name, layer) in layers)
        {
            var weight = layer.weight!;                                                   // [out, in]
            var down = Trained($"{name}.down", weight.shape[1], rank, weight.device, first => first.copy_(randn([rank, weight.shape[1]], generator: generator).div(rank)));
            var up = Trained($"{name}.up", rank, weight.shape[0], weight.device, first => first.zero_());
            _layers.Add((name, layer, down, up));
            _hooks.Add(layer.register_forward_hook(
                (_, x, y) => y + alpha / rank * nn.functional.linear(nn.functional.linear(x, down), up)).remove);
        }
    }

    /// <summary>Layers that it changes.</summary>
    public int LayerCount => _layers.Count;

    /// <summary>Its pairs as they are now, and their layers.</summary>
    public LoraMatch Match() => new("the LoRA that was trained",
        [.. _layers.Select(one => ($"unet.{one.Name}", (nn.Module<Tensor, Tensor>)one.Layer, new LoraPair("unet", one.Name, false, one.Down, one.Up, _alpha, [])))], []);

    protected override void Dispose(bool disposing)
    {
        _hooks.ForEach(remove => remove());
        _hooks.Clear();
        base.Dispose(disposing);
    }

    // The weight of a layer, not nn.Parameter of a tensor: that leaves a tensor in the dispose scope whose finalizer fails once the scope is disposed.
    private Parameter Trained(string name, long inputs, long outputs, Device device, Action<Tensor> start)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var layer = nn.Linear(inputs, outputs, hasBias: false, device: device);
        start(layer.weight!);
        register_module(name.Replace('.', '_'), layer);
        return layer.weight!;
    }
}
