using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>The norm of a gradient, over all parameters.</summary>
internal static class GradientNorm
{
    /// <param name="parameters">Those without a gradient count as zero.</param>
    public static double Of(IEnumerable<Parameter> parameters)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        Tensor[] norms = [.. parameters.Select(parameter => parameter.grad).OfType<Tensor>().Select(gradient => gradient.norm())];
        return norms.Length == 0 ? 0 : stack(norms).norm().item<float>();
    }
}
