using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Layers;

/// <summary>GEGLU feed-forward, W2 (h · gelu(g)) with [h, g] = W1 x (Shazeer 2020, arXiv 2002.05202); inner width 4 C.</summary>
internal sealed class FeedForward : nn.Module<Tensor, Tensor>
{
    [ComponentName(Name = "net")] private readonly ModuleList<nn.Module> _net;

    public FeedForward(int channels) : base(nameof(FeedForward))
    {
        // Indices 0 and 2, as in diffusers, where 1 is a dropout.
        _net = nn.ModuleList<nn.Module>(new GatedProjection(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels));
        RegisterComponents();
    }

    /// <param name="x">[B, M, C].</param>
    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        return ((Linear)_net[2]).call(((GatedProjection)_net[0]).call(x)).MoveToOuterDisposeScope();
    }

    private sealed class GatedProjection : nn.Module<Tensor, Tensor>
    {
        [ComponentName(Name = "proj")] private readonly Linear _projection;

        public GatedProjection(int channels, int inner) : base(nameof(GatedProjection))
        {
            _projection = nn.Linear(channels, 2 * inner);
            RegisterComponents();
        }

        public override Tensor forward(Tensor x)
        {
            using var scope = NewDisposeScope();
            var halves = _projection.call(x).chunk(2, -1);
            var gate = nn.functional.gelu(halves[1]);
            return (is_grad_enabled() ? halves[0] * gate : gate.mul_(halves[0])).MoveToOuterDisposeScope();
        }
    }
}
