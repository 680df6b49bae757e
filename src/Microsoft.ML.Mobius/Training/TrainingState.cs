using System.Globalization;
using System.Text.Json;
using Microsoft.ML.Mobius.Distributed;
using Microsoft.ML.Mobius.Files;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>
/// All that steps move: the trained weights, their average, the optimizer's moments, and what was measured. Learning rate, position in the data and random
/// draws follow from the step (<see cref="TrainingSettings.LearningRateAt"/>, <see cref="ClipOrder"/>, <see cref="TrainingRandom"/>).
/// </summary>
internal sealed class TrainingState : IDisposable
{
    private const string Weights = "weights.safetensors", Averages = "average.safetensors", Moments = "optimizer.safetensors", Measured = "progress.json";

    private readonly nn.Module _module;
    private readonly List<string> _names;
    private readonly List<IParameterOptimizer> _optimizers;
    private readonly List<double> _rates;
    private Progress _progress = new(0, 0, [], []);

    /// <param name="module">What is trained.</param>
    /// <param name="settings">How.</param>
    /// <param name="rateOf">Of a parameter's name, the share of the learning rate at which it moves; null for all of it.</param>
    public TrainingState(nn.Module module, TrainingSettings settings, Func<string, double>? rateOf = null)
    {
        var named = module.named_parameters().ToList();
        _module = module;
        _names = [.. named.Select(pair => pair.name)];
        _rates = [.. _names.Select(rateOf ?? (_ => 1))];
        Parameters = [.. named.Select(pair => pair.parameter)];
        _optimizers = [.. Parameters.Select<Parameter, IParameterOptimizer>(parameter => settings.Optimizer == OptimizerKind.Adafactor
            ? new AdafactorOptimizer(parameter, settings.WeightDecay) : new AdamWOptimizer(parameter, settings.WeightDecay))];
        Average = settings.EmaDecay > 0 ? new WeightAverage(Parameters, settings.EmaDecay) : null;
    }

    public IReadOnlyList<Parameter> Parameters { get; }

    public WeightAverage? Average { get; }

    /// <summary>Steps done.</summary>
    public int Step => _progress.Step;

    /// <summary>Time taken so far, by whatever processes.</summary>
    public double Seconds
    {
        get => _progress.Seconds;
        set => _progress = _progress with { Seconds = value };
    }

    public IReadOnlyList<LossPoint> Losses => _progress.Losses;

    public IReadOnlyList<LossPoint> HeldOut => _progress.HeldOut;

    public string NameOf(int parameter) => _names[parameter];

    /// <summary>Moves one parameter by the gradient that it has.</summary>
    public void Move(int parameter, double learningRate) => _optimizers[parameter].Step(_rates[parameter] * learningRate);

    /// <summary>Moves the weights by the gradients that they have, and counts the step.</summary>
    public void Advance(double loss, double learningRate)
    {
        for (int i = 0; i < _optimizers.Count; i++)
            Move(i, learningRate);
        _progress = _progress with { Step = Step + 1 };
        _progress.Losses.Add(new LossPoint(Step, loss));
        Average?.Add(Step);
    }

    /// <summary>Counts a step that moves nothing.</summary>
    public void Skip() => _progress = _progress with { Step = Step + 1 };

    /// <summary>A number for each trained tensor, which changes with it.</summary>
    public double[] Sums()
    {
        using var _ = no_grad();
        using var scope = NewDisposeScope();
        return [.. stack(Parameters.Select(parameter => parameter.sum(ScalarType.Float64))).cpu().data<double>()];
    }

    /// <summary>The held-out loss of each quarter of the schedule.</summary>
    public IReadOnlyList<IReadOnlyList<LossPoint>> HeldOutByTime => _progress.HeldOutByTime ?? [];

    public void AddHeldOut(double loss, IReadOnlyList<double> byTime)
    {
        _progress.HeldOut.Add(new LossPoint(Step, loss));
        if (_progress.HeldOutByTime is not { Count: > 0 })
            _progress = _progress with { HeldOutByTime = [.. byTime.Select(_ => new List<LossPoint>())] };
        foreach (var (points, one) in _progress.HeldOutByTime!.Zip(byTime))
            points.Add(new LossPoint(Step, one));
    }

    /// <summary>Writes files into an existing folder, each flushed to the disk.</summary>
    public void Write(string folder)
    {
        using var scope = NewDisposeScope();
        Safetensors.Write(Path.Combine(folder, Weights), StateDict.Of(_module));
        Safetensors.Write(Path.Combine(folder, Moments), MomentsByName());
        if (Average is not null)
            Safetensors.Write(Path.Combine(folder, Averages), _names.Zip(Average.Averages, KeyValuePair.Create));
        FileAside.WriteThrough(Path.Combine(folder, Measured), stream => JsonSerializer.Serialize(stream, _progress));
    }

    /// <summary>Reads what <see cref="Write"/> wrote, for the same module and settings.</summary>
    /// <exception cref="InvalidDataException">A file is damaged, or lacks something.</exception>
    /// <exception cref="WeightMismatchException">The weights are another module's.</exception>
    public void Read(string folder)
    {
        using var _ = no_grad();
        using var scope = NewDisposeScope();
        With(Path.Combine(folder, Weights), stored => StateDict.Load(_module, stored, Weights));
        With(Path.Combine(folder, Moments), stored =>
        {
            foreach (var (name, optimizer) in _names.Zip(_optimizers))
            {
                foreach (var (kind, moment) in optimizer.Moments)
                    Copy(stored, $"{name}.{kind}", moment);
                optimizer.Steps = stored.TryGetValue($"{name}.step", out var step) ? step.item<long>()
                    : throw new InvalidDataException($"{Moments} lacks '{name}.step'.");
            }
        });
        if (Average is not null)
            With(Path.Combine(folder, Averages), stored =>
            {
                foreach (var (name, average) in _names.Zip(Average.Averages))
                    Copy(stored, name, average);
            });
        using var json = File.OpenRead(Path.Combine(folder, Measured));
        _progress = JsonSerializer.Deserialize<Progress>(json) ?? throw new InvalidDataException($"{Measured} is empty.");
    }

    /// <summary>Gives all ranks the state of rank 0.</summary>
    public void Share(ProcessGroup group)
    {
        if (group.IsAlone)
            return;
        using var scope = NewDisposeScope();
        foreach (var tensor in StateDict.Of(_module).Select(pair => pair.Value).Concat(_optimizers.SelectMany(optimizer => optimizer.Moments).Select(moment => moment.Moment))
            .Concat(Average?.Averages ?? []))
            group.Broadcast(tensor);
        foreach (var optimizer in _optimizers)
            optimizer.Steps = long.Parse(group.Broadcast($"{optimizer.Steps}"), CultureInfo.InvariantCulture);
        ShareMeasured(group);
    }

    /// <summary>Gives all ranks what rank 0 has measured.</summary>
    public void ShareMeasured(ProcessGroup group)
    {
        if (!group.IsAlone)
            _progress = JsonSerializer.Deserialize<Progress>(group.Broadcast(JsonSerializer.Serialize(_progress)))!;
    }

    public void Dispose()
    {
        _optimizers.ForEach(optimizer => optimizer.Dispose());
        Average?.Dispose();
    }

    private IEnumerable<KeyValuePair<string, Tensor>> MomentsByName()
    {
        foreach (var (name, optimizer) in _names.Zip(_optimizers))
        {
            foreach (var (kind, moment) in optimizer.Moments)
                yield return KeyValuePair.Create($"{name}.{kind}", moment);
            yield return KeyValuePair.Create($"{name}.step", tensor(new[] { optimizer.Steps }));
        }
    }

    private static void With(string path, Action<IReadOnlyDictionary<string, Tensor>> use)
    {
        using var stream = File.OpenRead(path);
        var tensors = Safetensors.Read(stream);
        try
        {
            use(tensors);
        }
        finally
        {
            foreach (var tensor in tensors.Values)
                tensor.Dispose();
        }
    }

    private static void Copy(IReadOnlyDictionary<string, Tensor> stored, string name, Tensor target)
    {
        if (!stored.TryGetValue(name, out var found) || !found.shape.SequenceEqual(target.shape))
            throw new InvalidDataException($"The checkpoint lacks the tensor '{name}' of shape [{string.Join(", ", target.shape)}].");
        target.copy_(found);
    }

    private sealed record Progress(int Step, double Seconds, List<LossPoint> Losses, List<LossPoint> HeldOut, List<List<LossPoint>>? HeldOutByTime = null);
}
