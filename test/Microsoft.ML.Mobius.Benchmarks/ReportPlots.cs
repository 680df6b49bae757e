using System.Text.Json;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>The plots of the README, from results that are kept.</summary>
internal static class ReportPlots
{
    private static readonly JsonSerializerOptions s_json = new(JsonSerializerDefaults.Web);

    /// <summary>Draws training.png, of each size the newest results, and growth.png, of the newest, as far as there are any.</summary>
    /// <param name="reports">Folder of results, named by their dates.</param>
    /// <param name="folder">Where the plots go.</param>
    public static void Draw(string reports, string folder)
    {
        Directory.CreateDirectory(folder);
        TrainingCost[] costs = [.. Newest<TrainingResults>(reports, "training").SelectMany(results => results.Arms)
            .GroupBy(cost => (cost.Size, cost.Arm)).Select(cost => cost.First())
            .OrderBy(cost => Array.FindIndex([.. ModelSize.All], size => size.Name == cost.Size))
            .ThenBy(cost => Array.FindIndex([.. Arm.All], arm => arm.Name == cost.Arm))];
        if (costs.Length > 0)
            TrainingPlot.Write(Path.Combine(folder, "training.png"), costs);
        if (Newest<GrowthResults>(reports, "growth").FirstOrDefault() is { } growth)
            GrowthPlot.Write(Path.Combine(folder, "growth.png"), growth.Points);
    }

    private static IEnumerable<T> Newest<T>(string folder, string name) => Directory.EnumerateFiles(folder, $"*{name}*.json").OrderDescending(StringComparer.Ordinal)
        .Select(path => JsonSerializer.Deserialize<T>(File.ReadAllBytes(path), s_json)!);

    private sealed record TrainingResults(IReadOnlyList<TrainingCost> Arms);

    private sealed record GrowthResults(IReadOnlyList<GrowthPoint> Points);
}
