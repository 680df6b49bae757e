using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>libtorch's AdamW with its usual β and ε, for one parameter: the temporary tensors of its step live till the step's end.</summary>
internal sealed class AdamWOptimizer(Parameter parameter, double weightDecay) : IParameterOptimizer
{
    private readonly AdamW _adamW = optim.AdamW([parameter], weight_decay: weightDecay);

    public long Steps
    {
        get => State.step;
        set => State.step = value;
    }

    public IEnumerable<(string Name, Tensor Moment)> Moments => [("exp_avg", State.exp_avg), ("exp_avg_sq", State.exp_avg_sq)];

    private AdamW.State State => (AdamW.State)_adamW.state_dict().State.Single();

    public void Step(double learningRate)
    {
        foreach (var group in _adamW.ParamGroups)
            group.LearningRate = learningRate;
        _adamW.step();
    }

    public void Dispose() => _adamW.Dispose();
}
