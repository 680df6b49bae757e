using Microsoft.ML.Mobius.Video;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Cli.Evaluation;

/// <summary>
/// The Fréchet distance (Dowson and Landau 1982) between Gaussians around the features of two sets of clips. The features are those of a small fixed network of
/// random 3D convolutions, not of one trained on videos: the number is none to compare with a published FVD, only with others measured so.
/// </summary>
internal sealed class RandomFeatures : IDisposable
{
    private const int Side = 64;

    private static readonly (int From, int To, int TimeStride)[] s_layers = [(3, 16, 1), (16, 32, 2), (32, 48, 2)];

    private readonly List<Tensor> _kernels = [];

    public RandomFeatures()
    {
        using var generator = new Generator(20250101, CPU);
        foreach (var (from, to, _) in s_layers)
            _kernels.Add((randn([to, from, 3, 3, 3], generator: generator) * Math.Sqrt(2.0 / (from * 27))).DetachFromDisposeScope());
    }

    /// <summary>One row per clip.</summary>
    public double[][] Of(IEnumerable<VideoClip> clips) => [.. clips.Select(Of)];

    /// <summary>‖μ1 - μ2‖² + tr(Σ1 + Σ2 - 2 (Σ1 Σ2)^½).</summary>
    /// <param name="first">At least two rows.</param>
    /// <param name="second">At least two rows.</param>
    public static double Distance(double[][] first, double[][] second)
    {
        using var scope = NewDisposeScope();
        var (mean1, covariance1) = Moments(first);
        var (mean2, covariance2) = Moments(second);
        var root = Root(covariance1);
        var cross = Root(root.matmul(covariance2).matmul(root));
        return ((mean1 - mean2).square().sum() + (covariance1 + covariance2 - 2 * cross).trace()).item<double>();
    }

    public void Dispose() => _kernels.ForEach(kernel => kernel.Dispose());

    private double[] Of(VideoClip clip)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var frames = tensor(clip.Pixels.Span.ToArray()).reshape(clip.FrameCount, clip.Height, clip.Width, 3).permute(0, 3, 1, 2).to(ScalarType.Float32).div(127.5).sub(1);
        frames = nn.functional.interpolate(frames, size: [Side, Side], mode: InterpolationMode.Area);
        var x = frames.permute(1, 0, 2, 3).unsqueeze(0);                                                              // [1, 3, F, 64, 64]
        foreach (var (kernel, (_, _, stride)) in _kernels.Zip(s_layers))
            x = nn.functional.conv3d(x, kernel, strides: [stride, 2, 2], padding: [1, 1, 1]).relu();
        return [.. x.mean([0, 2, 3, 4]).to(ScalarType.Float64).data<double>()];
    }

    private static (Tensor Mean, Tensor Covariance) Moments(double[][] rows)
    {
        var x = tensor(rows.SelectMany(row => row).ToArray()).reshape(rows.Length, rows[0].Length);
        var mean = x.mean([0]);
        var centred = x - mean;
        return (mean, centred.t().matmul(centred) / (rows.Length - 1));
    }

    // Of a symmetric matrix; what rounding makes negative is none.
    private static Tensor Root(Tensor matrix)
    {
        var (values, vectors) = linalg.eigh((matrix + matrix.t()) / 2);
        return vectors.matmul(diag(values.clamp(min: 0).sqrt())).matmul(vectors.t());
    }
}
