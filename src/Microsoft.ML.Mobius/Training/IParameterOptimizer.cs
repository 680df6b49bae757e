using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>Moves one parameter by its gradients.</summary>
internal interface IParameterOptimizer : IDisposable
{
    /// <summary>Steps made.</summary>
    long Steps { get; set; }

    /// <summary>What is kept from step to step, by name: the tensors themselves.</summary>
    IEnumerable<(string Name, Tensor Moment)> Moments { get; }

    /// <summary>Moves the parameter, if it has a gradient, which may be used up.</summary>
    void Step(double learningRate);
}
