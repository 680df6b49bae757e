using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>
/// The exponential moving average of weights, w̄ ← d w̄ + (1 - d) w after every step n, with d = min(decay, n / (n + 9)), and d = 0 for n = 1: it begins
/// with the weights of the first step and forgets them the faster the younger it is.
/// </summary>
internal sealed class WeightAverage : IDisposable
{
    private readonly IReadOnlyList<Parameter> _parameters;
    private readonly List<Tensor> _averages;
    private readonly double _decay;

    public WeightAverage(IReadOnlyList<Parameter> parameters, double decay)
    {
        using var scope = NewDisposeScope();
        (_parameters, _decay) = (parameters, decay);
        _averages = [.. parameters.Select(parameter => parameter.detach().clone().DetachFromDisposeScope())];
    }

    /// <summary>w̄, in the order of the parameters.</summary>
    public IReadOnlyList<Tensor> Averages => _averages;

    /// <summary>Takes the present weights into the average.</summary>
    /// <param name="step">n, from 1.</param>
    public void Add(int step)
    {
        using var _ = no_grad();
        using var scope = NewDisposeScope();
        double decay = step == 1 ? 0 : Math.Min(_decay, step / (step + 9.0));
        foreach (var (average, parameter) in _averages.Zip(_parameters))
            average.mul_(decay).add_(parameter, alpha: 1 - decay);
    }

    /// <summary>Exchanges average and weights; a second time brings both back, to the bit.</summary>
    public void Swap()
    {
        using var _ = no_grad();
        foreach (var (average, parameter) in _averages.Zip(_parameters))
        {
            using var scope = NewDisposeScope();
            var weights = parameter.clone();
            parameter.copy_(average);
            average.copy_(weights);
        }
    }

    public void Dispose()
    {
        foreach (var average in _averages)
            average.Dispose();
    }
}
