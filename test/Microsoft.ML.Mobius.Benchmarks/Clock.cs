using System.Diagnostics;
using Microsoft.ML.Mobius.Training;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>Two measurements of time for each tick but the first: since the tick before.</summary>
internal sealed class Clock : IProgress<TrainingProgress>
{
    private readonly List<(TimeSpan Cpu, long Wall)> _ticks = [];

    public IReadOnlyList<double> CpuSeconds => [.. _ticks.Zip(_ticks.Skip(1), (from, to) => (to.Cpu - from.Cpu).TotalSeconds)];

    public IReadOnlyList<double> WallSeconds => [.. _ticks.Zip(_ticks.Skip(1), (from, to) => Stopwatch.GetElapsedTime(from.Wall, to.Wall).TotalSeconds)];

    public void Report(TrainingProgress step) => Tick();

    public void Tick()
    {
        using var process = Process.GetCurrentProcess();
        _ticks.Add((process.TotalProcessorTime, Stopwatch.GetTimestamp()));
    }
}
