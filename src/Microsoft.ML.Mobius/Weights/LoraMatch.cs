using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Weights;

/// <summary>The pairs of a LoRA file with the layers of a model that they change.</summary>
/// <param name="File">The file's name.</param>
/// <param name="Layers">Full name of the layer (network.layer), the layer, and its pair.</param>
/// <param name="UnmatchedKeys">Keys of the file that name no layer of the model.</param>
internal sealed record LoraMatch(string File, IReadOnlyList<(string Name, nn.Module<Tensor, Tensor> Layer, LoraPair Pair)> Layers, IReadOnlyList<string> UnmatchedKeys)
{
    /// <summary>Finds every pair's layer.</summary>
    /// <param name="file">Must live as long as the result.</param>
    /// <param name="networks">Of each network its name and its modules by name; only linear layers and convolutions are changed by a LoRA.</param>
    /// <exception cref="WeightMismatchException">No key names a layer, or a pair has another shape than its layer asks for.</exception>
    public static LoraMatch Of(LoraFile file, params IReadOnlyList<(string Name, IEnumerable<(string Name, nn.Module Module)> Modules)> networks)
    {
        var targets = networks.SelectMany(network => network.Modules.Where(named => named.Module is Linear or Convolution)
            .Select(named => (Network: network.Name, named.Name, Layer: (nn.Module<Tensor, Tensor>)named.Module))).ToList();
        var dotted = targets.ToLookup(target => target.Name);
        var underscored = targets.ToLookup(target => target.Name.Replace('.', '_'));

        var layers = new List<(string, nn.Module<Tensor, Tensor>, LoraPair)>();
        var (unmatched, unfit) = (file.OtherKeys.ToList(), new List<string>());
        foreach (var pair in file.Pairs)
        {
            var found = (pair.Underscored ? underscored : dotted)[pair.Layer].Where(target => pair.Network is null || pair.Network == target.Network).ToList();
            if (found.Count > 1)
                throw new InvalidDataException($"{file.Name}: {pair.Keys[0]} may mean {string.Join(" or ", found.Select(target => $"{target.Network}.{target.Name}"))}.");
            if (found is not [var only])
                unmatched.AddRange(pair.Keys);
            else if (Misfit(only.Layer, pair) is { } misfit)
                unfit.Add($"{pair.Keys[0]} ({misfit})");
            else
                layers.Add(($"{only.Network}.{only.Name}", only.Layer, pair));
        }
        if (unfit.Count > 0)
            throw new WeightMismatchException($"the LoRA {file.Name}", [], [], unfit);
        if (layers.Count == 0)
            throw new WeightMismatchException($"the LoRA {file.Name}, of which no key names a layer of the model,", [], unmatched, []);
        return new LoraMatch(file.Name, layers, unmatched);
    }

    /// <summary>Adds scale · alpha / rank · up down to every weight, computed in float32.</summary>
    public void MergeInto(double scale)
    {
        using var noGrad = no_grad();
        foreach (var (_, layer, pair) in Layers)
        {
            using var scope = NewDisposeScope();
            var weight = Weight(layer);
            var change = pair.Up.flatten(1).matmul(pair.Down.flatten(1)).reshape(weight.shape) * (scale * pair.Alpha / pair.Rank);
            weight.copy_(weight.to(ScalarType.Float32) + change.to(weight.device));
        }
    }

    /// <summary>
    /// Writes the pairs under peft's names, with every alpha worked into its up matrix: files that say no alpha mean the rank, and every reader
    /// agrees on that.
    /// </summary>
    /// <param name="stream">Gets a safetensors file, in float32.</param>
    public void Write(Stream stream)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        Safetensors.Write(stream, Layers.SelectMany(layer => new[]
        {
            KeyValuePair.Create(layer.Name + ".lora_A.weight", layer.Pair.Down),
            KeyValuePair.Create(layer.Name + ".lora_B.weight", layer.Pair.Up * (layer.Pair.Alpha / layer.Pair.Rank)),
        }).ToList());
    }

    public static Tensor Weight(nn.Module layer) => layer.get_parameter("weight")!;

    /// <summary>What does not fit, or null. A convolution over single pixels and a linear layer are the same, whichever the LoRA was made for.</summary>
    private static string? Misfit(nn.Module layer, LoraPair pair)
    {
        static long[] Plain(IEnumerable<long> shape) => [.. shape.Take(2), .. shape.Skip(2).All(size => size == 1) ? [] : shape.Skip(2)];

        if (layer is Convolution { groups: not 1 } grouped)
            return $"its layer is a convolution in {grouped.groups} groups";
        long[] weight = Weight(layer).shape;
        long[] asked = Plain(weight);
        long[] found = Plain([pair.Up.shape[0], .. pair.Down.shape.Skip(1)]);
        return asked.AsSpan().SequenceEqual(found) ? null
            : $"expected a change of [{string.Join(", ", weight)}], found one of [{string.Join(", ", found)}]";
    }
}
