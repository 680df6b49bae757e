using System.Globalization;
using Microsoft.ML.Mobius.Training;

namespace Microsoft.ML.Mobius.Samples.MainJob;

/// <summary>Shows how training goes: one line that is rewritten on a terminal, a line for every twentieth of the steps elsewhere.</summary>
internal sealed class ProgressLine : IProgress<TrainingProgress>
{
    private const int Lines = 20;
    private const double Smoothing = 0.95, Gibibyte = 1L << 30;
    private static readonly TimeSpan s_betweenUpdates = TimeSpan.FromSeconds(0.2);

    private readonly bool _isTerminal = !Console.IsOutputRedirected;
    private double? _loss;
    private DateTime _shown;

    /// <inheritdoc/>
    public void Report(TrainingProgress value)
    {
        bool isFirst = _loss is null;
        _loss = Smoothing * (_loss ?? value.Loss) + (1 - Smoothing) * value.Loss;
        bool isLast = value.Step == value.Steps;
        string line = string.Create(CultureInfo.InvariantCulture,
            $"step {value.Step}/{value.Steps}  loss {_loss:F4}  {value.StepsPerSecond:F2} it/s  ETA {Clock(value.Remaining)}  peak {value.PeakMemoryBytes / Gibibyte:F2} GiB");
        if (_isTerminal && (isLast || DateTime.UtcNow - _shown >= s_betweenUpdates))
        {
            Console.Write($"\r{line}\u001b[K{(isLast ? "\n" : "")}");
            _shown = DateTime.UtcNow;
        }
        else if (!_isTerminal && (value.Step * Lines / value.Steps > (value.Step - 1) * Lines / value.Steps || isFirst))
            Console.WriteLine(line);
    }

    private static string Clock(TimeSpan time) => $"{(int)time.TotalMinutes}:{time.Seconds:D2}";
}
