using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Layers;

/// <summary>
/// e(t): sinusoids [cos(t ω_i), sin(t ω_i)] with ω_i = 10000^(-i / half) (Ho et al. 2020, arXiv 2006.11239, cosines first as in diffusers),
/// then two linear layers with a SiLU between.
/// </summary>
internal sealed class TimestepEmbedding : nn.Module<Tensor, Tensor>
{
    private readonly int _sinusoids;
    [ComponentName(Name = "linear_1")] private readonly Linear _linear1;
    [ComponentName(Name = "linear_2")] private readonly Linear _linear2;

    public TimestepEmbedding(int sinusoids, int channels) : base(nameof(TimestepEmbedding))
    {
        _sinusoids = sinusoids;
        _linear1 = nn.Linear(sinusoids, channels);
        _linear2 = nn.Linear(channels, channels);
        RegisterComponents();
    }

    /// <param name="t">Time steps, [B] int64, 0 to T-1.</param>
    /// <returns>[B, E].</returns>
    public override Tensor forward(Tensor t)
        => _linear2.call(nn.functional.silu(_linear1.call(Sinusoids(t, _sinusoids).to(_linear1.weight!.dtype))));

    /// <summary>[cos(p ω_i), sin(p ω_i)].</summary>
    /// <param name="positions">Times or places, [N].</param>
    /// <param name="channels">Even.</param>
    /// <returns>[N, channels], float32.</returns>
    public static Tensor Sinusoids(Tensor positions, int channels)
    {
        int half = channels / 2;
        var frequencies = arange(half, dtype: ScalarType.Float32, device: positions.device).mul(-Math.Log(10000) / half).exp();
        var angles = positions.to(ScalarType.Float32).unsqueeze(1) * frequencies.unsqueeze(0);           // [N, half]
        return cat([angles.cos(), angles.sin()], 1);
    }
}
