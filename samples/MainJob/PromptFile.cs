using Microsoft.ML.Mobius.Samples.Shapes;
using Microsoft.ML.Mobius.Training;

namespace Microsoft.ML.Mobius.Samples.MainJob;

/// <summary>Prompts to generate for, one per line; the first line is number 1.</summary>
internal static class PromptFile
{
    private const int ShapesPrompts = 48, CaptionPrompts = 12;

    /// <summary>Reads a file of prompts.</summary>
    /// <exception cref="IOException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">It is empty, or has an empty line: every line's number names a video.</exception>
    public static IReadOnlyList<string> Read(string path)
    {
        if (!File.Exists(path))
            throw new FileNotFoundException($"The file of prompts '{path}' does not exist.");
        string[] prompts = File.ReadAllLines(path);
        if (prompts.Length == 0)
            throw new InvalidDataException($"The file of prompts '{path}' is empty.");
        int empty = Array.FindIndex(prompts, string.IsNullOrWhiteSpace);
        return empty < 0 ? prompts : throw new InvalidDataException($"{path}:{empty + 1}: the line is empty; every line must be a prompt.");
    }

    /// <summary>Combinations of shapes, half of them never trained.</summary>
    public static IEnumerable<string> ForShapes(int seed) => PromptSet.Choose(new Random(seed), ShapesPrompts).Select(c => c.Caption);

    /// <summary>Some of the clips' own captions, each once.</summary>
    public static IEnumerable<string> Among(IReadOnlyList<CaptionedClip> clips, int seed)
    {
        string[] captions = [.. clips.Select(clip => clip.Caption.ReplaceLineEndings(" ")).Distinct(StringComparer.OrdinalIgnoreCase)];
        new Random(seed).Shuffle(captions);
        return captions.Take(CaptionPrompts);
    }
}
