using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>
/// Adafactor (Shazeer and Stern 2018, arXiv 1804.04235, algorithms 4 and 5) of one parameter X with the gradient G, at step t with the learning rate α and the weight decay λ:
/// β = 1 - t^-0.8; R ← β R + (1 - β) mean over columns (G² + ε), C ← β C + (1 - β) mean over rows (G² + ε), V = R C / mean(R), ε = 1e-30;
/// U = G / √V; X ← (1 - α λ) X - α U / max(1, rms(U)).
/// </summary>
/// <remarks>
/// A kernel [out, in, ...] is the matrix [out, in · places] that the convolution is a product with; of a vector all of V is kept. There is no first moment: the limit on
/// rms(U) takes its place in keeping single steps small (section 6 of the paper), and in 16 bits it would be more than all else that this keeps. The rate is the schedule's,
/// not relative to the weights, and decay is apart from the gradient, both as with AdamW, so that the same rates do.
/// </remarks>
internal sealed class AdafactorOptimizer : IParameterOptimizer
{
    private const double Tiny = 1e-30, Exponent = 0.8;

    private readonly Parameter _parameter;
    private readonly double _weightDecay;
    private readonly Tensor? _rows, _columns, _vector;

    public AdafactorOptimizer(Parameter parameter, double weightDecay)
    {
        (_parameter, _weightDecay) = (parameter, weightDecay);
        if (parameter.dim() < 2)
            _vector = Kept(parameter.numel());
        else
            (_rows, _columns) = (Kept(parameter.shape[0]), Kept(parameter.numel() / parameter.shape[0]));

        Tensor Kept(long size) => zeros(size, ScalarType.Float32, parameter.device).DetachFromDisposeScope();
    }

    public long Steps { get; set; }

    public IEnumerable<(string Name, Tensor Moment)> Moments => _vector is not null ? [("vector", _vector)] : [("rows", _rows!), ("columns", _columns!)];

    public void Step(double learningRate)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        if (_parameter.grad is not { } gradient)
            return;
        double decay = 1 - Math.Pow(++Steps, -Exponent);
        var update = gradient.reshape(_vector is not null ? [-1] : [_rows!.shape[0], -1]);
        var squares = update.square().add_(Tiny);
        if (_vector is not null)
            update.mul_(Mixed(_vector, squares).rsqrt());
        else
        {
            Mixed(_rows!, squares.mean([1]));
            Mixed(_columns!, squares.mean([0]));
            update.mul_((_rows! / _rows!.mean()).rsqrt_().unsqueeze(1)).mul_(_columns!.rsqrt());       // R C alone would be too small for float32
        }
        var rms = update.norm() / Math.Sqrt(update.numel());
        _parameter.mul_(1 - learningRate * _weightDecay).addcdiv_(update.reshape(_parameter.shape), rms.clamp_(min: 1), -learningRate);

        Tensor Mixed(Tensor mean, Tensor value) => mean.mul_(decay).add_(value, alpha: 1 - decay);
    }

    public void Dispose()
    {
        _rows?.Dispose();
        _columns?.Dispose();
        _vector?.Dispose();
    }
}
