using System.Text.Json;

namespace Microsoft.ML.Mobius.Tests;

/// <summary>Memory of the benchmarks' small network, measured in a process of its own, beside what was estimated.</summary>
internal static class SmallMeasurement
{
    /// <param name="activity">As in the benchmarks: 0 trains, 1 generates.</param>
    /// <param name="arm">Name of the arm, or of the way to generate.</param>
    public static (double Peak, double Estimated) Of(int activity, string arm)
    {
        if (!OperatingSystem.IsLinux())
            Assert.Inconclusive("The allocator is another one.");
        string workload = $$"""
            {"Activity": {{activity}}, "Arm": "{{arm}}", "Size": {"Name": "small", "Channels": [64, 128, 256, 256], "CrossAttention": 256}, "Count": 1, "Frames": 8, "Batch": 1, "Side": 32}
            """;
        var (exitCode, output, error) = SecondProcess.Run("Microsoft.ML.Mobius.Benchmarks.dll", ["measure", workload.Trim()]);
        Assert.AreEqual(0, exitCode, error);
        using var measured = JsonDocument.Parse(output[output.IndexOf('{')..]);
        return (measured.RootElement.GetProperty("PeakBytes").GetInt64(), measured.RootElement.GetProperty("EstimatedBytes").GetInt64());
    }
}
