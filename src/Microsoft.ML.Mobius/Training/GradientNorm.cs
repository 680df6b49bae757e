using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>The norm of a gradient, over all parameters; it stays on their device, where nobody waits for it until it is read.</summary>
internal static class GradientNorm
{
    /// <param name="parameters">Those without a gradient count as zero.</param>
    /// <returns>[]; belongs to the caller's scope.</returns>
    public static Tensor Of(IEnumerable<Parameter> parameters)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        Tensor[] norms = [.. Gradients(parameters).Select(gradient => gradient.norm())];
        return (norms.Length == 0 ? zeros([]) : stack(norms).norm()).MoveToOuterDisposeScope();
    }

    /// <summary>Scales the gradients down to a norm: libtorch's clip_grad_norm_, to the bit, which would wait for it.</summary>
    /// <param name="parameters">Those without a gradient count as zero.</param>
    /// <param name="most">Norms up to here stay.</param>
    /// <returns>The norm before, []; belongs to the caller's scope.</returns>
    public static Tensor Clip(IReadOnlyList<Parameter> parameters, double most)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var norm = Of(parameters);
        var scale = (norm + 1e-6).reciprocal().mul(most).clamp(max: 1);
        foreach (var gradient in Gradients(parameters))
            gradient.mul_(scale);
        return norm.MoveToOuterDisposeScope();
    }

    private static IEnumerable<Tensor> Gradients(IEnumerable<Parameter> parameters) => parameters.Select(parameter => parameter.grad).OfType<Tensor>();
}
