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
}
