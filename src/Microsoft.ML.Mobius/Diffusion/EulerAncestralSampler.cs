using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>
/// Euler's method with ancestral noise: each step goes down to σ_down without noise and up to the next level with it, as much as DDPM adds
/// (Karras et al. 2022, arXiv 2206.00364, appendix C; the split is that of Ho et al. 2020, arXiv 2006.11239, eq. 7).
/// </summary>
internal sealed record EulerAncestralSampler : ScaledSampler
{
    public static EulerAncestralSampler Of(NoiseScheduleConfig config) => new() { Spacing = config.Spacing(TimestepSpacing.Linspace) };

    protected override Func<Tensor, int, Tensor> Stepping(Denoiser denoise, NoiseSchedule schedule, int steps, Func<Tensor> draw)
    {
        var grid = Grid(schedule, steps);
        return (x, i) =>
        {
            double now = grid.Sigmas[i], next = grid.Sigmas[i + 1];
            double up = next / now * Math.Sqrt(now * now - next * next), down = next * next / now;             // up² + down² = next²
            var clean = Clean(denoise, schedule, grid, x, i);
            return clean + down / now * (x - clean) + up * draw();
        };
    }
}
