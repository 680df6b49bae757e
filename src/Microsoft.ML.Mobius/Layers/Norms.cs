using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Layers;

/// <summary>The one place that builds normalisation layers.</summary>
internal static class Norms
{
    /// <summary>A group norm with weight 1 and bias 0. TorchSharp 0.107 leaves both uninitialised, so none may be built elsewhere.</summary>
    public static GroupNorm Group(int groups, int channels, double eps)
    {
        if (channels % groups != 0)
            throw new ArgumentException($"{channels} channels cannot be split into {groups} groups.", nameof(groups));
        var norm = nn.GroupNorm(groups, channels, eps);
        nn.init.ones_(norm.weight!);
        nn.init.zeros_(norm.bias!);
        return norm;
    }

    /// <summary>A group norm of x as what it is once x is known: norm(x) = scale x + shift.</summary>
    /// <param name="norm">G groups.</param>
    /// <param name="x">[N, C, h, w].</param>
    /// <returns>Both [N, C, 1, 1].</returns>
    public static (Tensor Scale, Tensor Shift) Affine(GroupNorm norm, Tensor x)
    {
        using var scope = NewDisposeScope();
        long n = x.shape[0], channels = x.shape[1], groups = norm.num_groups;
        var group = x.reshape(n, groups, -1);
        Tensor PerChannel(Tensor perGroup) => perGroup.repeat_interleave(channels / groups, 1).reshape(n, channels, 1, 1);
        var deviation = (group.var([2], unbiased: false) + norm.eps).sqrt();
        var scale = norm.weight!.reshape(1, channels, 1, 1) / PerChannel(deviation);
        var shift = norm.bias!.reshape(1, channels, 1, 1) - PerChannel(group.mean([2])) * scale;
        return (scale.MoveToOuterDisposeScope(), shift.MoveToOuterDisposeScope());
    }
}
