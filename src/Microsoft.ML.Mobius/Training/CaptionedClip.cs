using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using CsvHelper;
using CsvHelper.Configuration;

namespace Microsoft.ML.Mobius.Training;

/// <summary>One clip to train on, as a row of data: its properties are the columns that <c>TextToVideoTrainer.Options</c> expects.</summary>
public sealed class CaptionedClip
{
    private const string JsonLines = "captions.jsonl";
    private static readonly string[] s_videos = [".mp4", ".mov", ".webm", ".mkv", ".avi", ".gif", ".png", ".webp", ".jpg", ".jpeg"];

    /// <summary>Path of a video file.</summary>
    public required string Clip { get; init; }

    /// <summary>What it shows.</summary>
    public required string Caption { get; init; }

    /// <summary>
    /// Reads which clips a folder has and what they show: from captions.jsonl (a line <c>{"video": ..., "caption": ...}</c> per clip), else from
    /// the folder's one .csv file (with a header that has video and caption), else from a .txt file of the same name beside every video.
    /// </summary>
    /// <remarks>No video is opened.</remarks>
    /// <param name="folder">The folder.</param>
    /// <returns>At least one clip, in an order that does not depend on the file system.</returns>
    /// <exception cref="IOException">The folder or a file of it is missing.</exception>
    /// <exception cref="InvalidDataException">A line or a caption is not as expected; the message names it.</exception>
    public static IReadOnlyList<CaptionedClip> ReadFolder(string folder)
    {
        if (!Directory.Exists(folder))
            throw new DirectoryNotFoundException($"The folder of clips '{folder}' does not exist.");
        string jsonLines = Path.Combine(folder, JsonLines);
        string[] tables = [.. Files(folder, "*.csv")];
        if (tables.Length > 1 && !File.Exists(jsonLines))
            throw new InvalidDataException($"'{folder}' has {tables.Length} .csv files ({string.Join(", ", tables.Select(Path.GetFileName))}): expected one.");

        IEnumerable<(string Where, string? Video, string? Caption)> entries =
            File.Exists(jsonLines) ? FromJsonLines(jsonLines) : tables.Length == 1 ? FromTable(tables[0]) : FromTextFiles(folder);
        CaptionedClip[] clips = [.. entries.Select(entry => Checked(folder, entry.Where, entry.Video, entry.Caption))];
        return clips.Length > 0 ? clips : throw new InvalidDataException(
            $"'{folder}' lists no clips: expected {JsonLines}, a .csv file with the columns video and caption, or videos with a .txt file each.");
    }

    private static CaptionedClip Checked(string folder, string where, string? video, string? caption)
    {
        if (string.IsNullOrWhiteSpace(video))
            throw new InvalidDataException($"{where}: the name of the video is missing.");
        if (string.IsNullOrWhiteSpace(caption))
            throw new InvalidDataException($"{where}: the caption of '{video}' is empty.");
        string path = Path.Combine(folder, video);
        return File.Exists(path) ? new() { Clip = path, Caption = caption.Trim() } : throw new FileNotFoundException($"{where}: the video '{path}' does not exist.");
    }

    private static IEnumerable<(string, string?, string?)> FromJsonLines(string file)
    {
        int number = 0;
        foreach (string line in File.ReadLines(file))
        {
            string where = $"{file}:{++number}";
            if (string.IsNullOrWhiteSpace(line))
                continue;
            JsonEntry entry;
            try
            {
                entry = JsonSerializer.Deserialize<JsonEntry>(line) ?? new(null, null);
            }
            catch (JsonException e)
            {
                throw new InvalidDataException($$"""{{where}}: expected {"video": "...", "caption": "..."}, got '{{line}}'.""", e);
            }
            yield return (where, entry.Video, entry.Caption);
        }
    }

    private static IEnumerable<(string, string?, string?)> FromTable(string file)
    {
        var form = new CsvConfiguration(CultureInfo.InvariantCulture) { PrepareHeaderForMatch = header => header.Header.Trim().ToLowerInvariant() };
        using var reader = new CsvReader(new StreamReader(file), form);
        if (!reader.Read() || !reader.ReadHeader() || !new[] { "video", "caption" }.All(name => reader.HeaderRecord!.Any(
                header => header.Trim().Equals(name, StringComparison.OrdinalIgnoreCase))))
            throw new InvalidDataException($"{file}: expected a header with the columns video and caption.");
        while (reader.Read())
            yield return ($"{file}:{reader.Parser.RawRow}", reader.GetField("video"), reader.GetField("caption"));
    }

    private static IEnumerable<(string, string?, string?)> FromTextFiles(string folder)
    {
        foreach (string video in Files(folder, "*").Where(file => s_videos.Contains(Path.GetExtension(file).ToLowerInvariant())))
        {
            string text = Path.ChangeExtension(video, ".txt");
            if (!File.Exists(text))
                throw new FileNotFoundException($"'{video}' has no caption: '{text}' does not exist.");
            yield return (text, Path.GetFileName(video), File.ReadAllText(text));
        }
    }

    // In an order that does not depend on the file system: the same folder and seed give the same model.
    private static IEnumerable<string> Files(string folder, string pattern) => Directory.EnumerateFiles(folder, pattern).Order(StringComparer.Ordinal);

    private sealed record JsonEntry([property: JsonPropertyName("video")] string? Video, [property: JsonPropertyName("caption")] string? Caption);
}
