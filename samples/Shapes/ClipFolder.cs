using System.Text;
using System.Text.Json;
using Microsoft.ML.Mobius.Shapes;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Samples.Shapes;

/// <summary>Writes a training folder: 0000.mp4, 0001.mp4, ... and captions.jsonl, one line <c>{"video": ..., "caption": ...}</c> per clip.</summary>
public static class ClipFolder
{
    private const int Writers = 2;

    /// <summary>
    /// Draws clips of combinations, each about equally often, in random order. The captions are written last: a folder with captions.jsonl
    /// is whole.
    /// </summary>
    /// <param name="folder">Made if it is missing; files of these names are replaced.</param>
    /// <param name="count">How many clips, at least 1.</param>
    /// <param name="seed">The same seed gives the same clips.</param>
    /// <param name="among">The combinations; null for those that are trained.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="count"/> is below 1.</exception>
    /// <exception cref="IOException">The folder cannot be written to.</exception>
    public static void Write(string folder, int count, int seed, IReadOnlyList<ShapeCombination>? among = null)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(folder);
        IReadOnlyList<ShapeClip> clips = Draw(count, seed, among);
        Directory.CreateDirectory(folder);
        string captions = Path.Combine(folder, "captions.jsonl");
        File.Delete(captions);
        Parallel.For(0, clips.Count, new ParallelOptions { MaxDegreeOfParallelism = Writers }, i =>
            VideoWriter.Write(Path.Combine(folder, FileName(i)),
                new VideoClip(clips[i].Render(), ShapeSpec.FrameCount, ShapeSpec.Height, ShapeSpec.Width, ShapeSpec.FrameRate)));

        WriteLines(captions, clips.Select((clip, i) => JsonSerializer.Serialize(new { video = FileName(i), caption = clip.Combination.Caption })));
    }

    /// <summary>The clips that <see cref="Write"/> writes.</summary>
    public static IReadOnlyList<ShapeClip> Draw(int count, int seed, IReadOnlyList<ShapeCombination>? among = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        var random = new Random(seed);
        ShapeCombination[] order = [.. among ?? ShapeSpec.Trained];
        var clips = new List<ShapeClip>(count);
        for (int i = 0; i < count; i++)
        {
            if (i % order.Length == 0)
                random.Shuffle(order);
            clips.Add(ShapeClip.Sample(random, order[i % order.Length]));
        }
        return clips;
    }

    /// <summary>Writes a text file of lines, aside and then renamed.</summary>
    public static void WriteLines(string path, IEnumerable<string> lines)
    {
        string aside = path + ".tmp";
        File.WriteAllText(aside, string.Concat(lines.Select(line => line + "\n")), new UTF8Encoding(false));
        File.Move(aside, path, overwrite: true);
    }

    private static string FileName(int index) => $"{index:D4}.mp4";
}
