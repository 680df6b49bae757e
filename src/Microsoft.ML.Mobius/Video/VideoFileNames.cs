using System.Globalization;
using System.Text;

namespace Microsoft.ML.Mobius.Video;

/// <summary>Names of videos, from prompt and seed, that every file system takes: a-red-circle-growing-7.</summary>
internal sealed class VideoFileNames
{
    private const int LongestPrompt = 100;      // bytes

    private readonly HashSet<string> _given = [];

    /// <summary>A name, without an extension, that was not given before.</summary>
    public string Next(string prompt, long seed)
    {
        string name = string.Create(CultureInfo.InvariantCulture, $"{Of(prompt)}-{seed}"), free = name;
        for (int i = 2; !_given.Add(free); i++)
            free = string.Create(CultureInfo.InvariantCulture, $"{name}-{i}");
        return free;
    }

    /// <summary>
    /// Letters and digits in lower case, for some systems do not tell cases apart. Not to be a whole name, as con cannot be one: a seed or the like belongs to it.
    /// </summary>
    public static string Of(string prompt)
    {
        var safe = new StringBuilder();
        int bytes = 0;
        bool gap = false;
        foreach (var rune in prompt.EnumerateRunes())
        {
            if (!Rune.IsLetterOrDigit(rune))
            {
                gap = safe.Length > 0;
                continue;
            }
            var lower = Rune.ToLowerInvariant(rune);
            bytes += lower.Utf8SequenceLength + (gap ? 1 : 0);
            if (bytes > LongestPrompt)
                break;
            safe.Append(gap ? "-" : "").Append(lower.ToString());
            gap = false;
        }
        return safe.Length > 0 ? safe.ToString() : "video";
    }
}
