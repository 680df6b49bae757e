using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.ML.Mobius.Samples.Shapes;
using Microsoft.ML.Mobius.Shapes;

namespace Microsoft.ML.Mobius.Samples.MainJob;

/// <summary>summary.json: fitting writes its part, generating adds its own.</summary>
internal sealed record Summary(JobSettings Settings, FitSummary Fit, GenerationSummary? Generation = null)
{
    private static readonly JsonSerializerOptions s_form = new(JsonSerializerDefaults.Web)
    {
        WriteIndented = true,
        IgnoreReadOnlyProperties = true,
        Converters = { new JsonStringEnumConverter() },
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    public void Write(string path) => ClipFolder.WriteLines(path, [JsonSerializer.Serialize(this, s_form)]);

    /// <exception cref="IOException">There is no such file: nothing was fitted there.</exception>
    public static Summary Read(string path) =>
        JsonSerializer.Deserialize<Summary>(File.ReadAllText(path), s_form) ?? throw new InvalidDataException($"'{path}' is empty.");
}

/// <summary>What fitting measured.</summary>
/// <param name="Clips">Number of clips.</param>
/// <param name="Steps">Training steps.</param>
/// <param name="TrainingSeconds">Wall-clock time of the steps.</param>
/// <param name="Seconds">Wall-clock time of everything, with drawing or reading the clips and saving the model.</param>
/// <param name="FirstHeldOutLoss">The denoising loss on the clips held out before the first step; null if there are none.</param>
/// <param name="LastHeldOutLoss">The same after the last step.</param>
/// <param name="PeakMemoryBytes">The most memory the process had resident.</param>
internal sealed record FitSummary(
    int Clips, int Steps, double TrainingSeconds, double Seconds, double? FirstHeldOutLoss, double? LastHeldOutLoss, long PeakMemoryBytes);

/// <summary>What generating measured.</summary>
/// <param name="Videos">Number of videos.</param>
/// <param name="Seconds">Wall-clock time, with loading the model and writing the files.</param>
/// <param name="PeakMemoryBytes">The most memory the process had resident.</param>
/// <param name="Accuracy">By kind of combination; null unless every prompt is a caption of the shapes clips.</param>
internal sealed record GenerationSummary(int Videos, double Seconds, long PeakMemoryBytes, Accuracy? Accuracy);

/// <summary>The accuracy of videos whose combination was seen in training, and of those whose was not.</summary>
internal sealed record Accuracy(AttributeShares? Seen, AttributeShares? NeverTrained)
{
    public static Accuracy Of(IReadOnlyList<AttributeScores> scores) => new(
        AttributeShares.Of([.. scores.Where(s => !s.Combination.IsNeverTrained)]), AttributeShares.Of([.. scores.Where(s => s.Combination.IsNeverTrained)]));
}
