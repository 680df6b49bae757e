using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;

namespace Microsoft.ML.Mobius;

public sealed partial class TextToVideoTrainer
{
    private static bool Fits(MemoryEstimate estimate, int budget) => estimate.PeakBytes >> 20 <= budget;

    private static string InMebibytes(long mebibytes) => FormattableString.Invariant($"{mebibytes:N0} MiB");

    /// <summary>
    /// Where training takes more than the budget: how much, and which changes of the options would fit, of each kind the mildest; if there are none, what each kind comes to.
    /// Null where it fits.
    /// </summary>
    private string? OverBudget(ModelArchitecture model, int budget)
    {
        var least = Estimate(model);
        if (Fits(least, budget))
            return null;

        (string Name, Action<Options> Make, MemoryEstimate Estimate)[][] ways = [.. Changes().Select(kind => kind
            .SelectMany(change => EstimateWith(change.Make, model) is { } estimate ? [(change.Name, change.Make, estimate)] : Array.Empty<(string, Action<Options>, MemoryEstimate)>())
            .ToArray()).Where(kind => kind.Length > 0)];
        string Told((string Name, Action<Options> Make, MemoryEstimate Estimate) way) => $"{way.Name} ({InMebibytes(way.Estimate.PeakBytes >> 20)})";

        string[] fitting = [.. ways.SelectMany(kind => kind.Where(way => Fits(way.Estimate, budget)).Take(1)).Select(Told)];
        var most = ways.Select(kind => kind[^1]).ToArray();
        var together = EstimateWith(options => Array.ForEach(most, way => way.Make(options)), model);
        return $"The memory budget is {InMebibytes(budget)}, but the least that training takes with these options is {least}. " + (fitting.Length > 0
            ? $"What would fit: {string.Join(", or ", fitting)}."
            : $"No change of one kind would fit; the most of each comes to: {string.Join(", ", most.Select(Told))}"
                + (together is null ? "." : $"; all of them to {InMebibytes(together.PeakBytes >> 20)}."));
    }

    /// <summary>What training would take with other options; null if they cannot be.</summary>
    private MemoryEstimate? EstimateWith(Action<Options> change, ModelArchitecture model)
    {
        var options = _options.For(_base);
        change(options);
        return options.Problems(_base.Factor).Count > 0 ? null
            : new TextToVideoTrainer(_host, options, _base).Estimate(model with { UNet = options.Architecture(model.UNet) });
    }

    /// <summary>Changes that take less memory; of each kind, those from the mildest to the strongest.</summary>
    private IEnumerable<IEnumerable<(string Name, Action<Options> Make)>> Changes()
    {
        var now = _options;
        if (now.RecomputeActivations == false)
            yield return [("RecomputeActivations true", options => options.RecomputeActivations = true)];
        if (now.EmaDecay > 0)
            yield return [("EmaDecay 0", options => options.EmaDecay = 0)];
        yield return Enumerable.Range(2, Math.Max(0, now.BatchSize - 1)).Where(parts => now.BatchSize % parts == 0).Select(parts => (
            $"BatchSize {now.BatchSize / parts} with GradientAccumulationSteps {now.GradientAccumulationSteps * parts}", (Action<Options>)(options =>
            {
                options.BatchSize = now.BatchSize / parts;
                options.GradientAccumulationSteps = now.GradientAccumulationSteps * parts;
            })));
        if (now.Layout != UNetLayout.StreamParallel && now.MotionModulePath is null)
            yield return [("Layout StreamParallel", options => options.Layout = UNetLayout.StreamParallel)];
        else if (now.Layout == UNetLayout.StreamParallel)
            yield return new[] { 2, 4, 8 }.Where(divisor => divisor > now.TemporalWidthDivisor).Select(divisor => (
                $"TemporalWidthDivisor {divisor}", (Action<Options>)(options => options.TemporalWidthDivisor = divisor)));
        if (now.FrameBuckets is [])
            yield return Enumerable.Range(1, now.FrameCount!.Value - 1).Reverse().Select(count => (
                $"FrameCount {count}", (Action<Options>)(options => options.FrameCount = count)));
        yield return new[] { 4, 2 }.Select(divisor => (Height: Less(now.Height!.Value, divisor), Width: Less(now.Width!.Value, divisor))).Select(size => (
            $"Height {size.Height} and Width {size.Width}", (Action<Options>)(options => (options.Height, options.Width) = size)));

        // Less by a quarter or a half, as far as the model's pixels per latent allow.
        int Less(int side, int divisor) => Math.Max(1, (side - side / divisor) / _base.Factor) * _base.Factor;
    }
}
