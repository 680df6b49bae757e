using System.Globalization;
using System.Text.Json;
using Microsoft.ML.Mobius.Shapes;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Samples.Shapes;

/// <summary>What can be measured of videos whose prompts are captions of the shapes: attributes, whether they are loops, whether objects move on.</summary>
public sealed class MeasuredVideos
{
    private static readonly JsonSerializerOptions s_json = new(JsonSerializerDefaults.Web);

    private readonly IReadOnlyList<(ShapeCombination Asked, VideoClip Clip)> _videos;

    private MeasuredVideos(IReadOnlyList<(ShapeCombination, VideoClip)> videos) => _videos = videos;

    /// <summary>Reads the videos of a folder, or those that a file lists.</summary>
    /// <param name="path">A folder with captions.jsonl, as mobius evaluate writes it, or a file with what mobius generate --json printed.</param>
    /// <exception cref="IOException">It, or a video, is not there.</exception>
    /// <exception cref="InvalidDataException">It is something else, or a caption is none of the shapes.</exception>
    public static MeasuredVideos Read(string path)
        => new([.. Directory.Exists(path) ? CaptionedClip.ReadFolder(path).Select(video => Open(video.Caption, video.Clip, new VideoReadOptions())) : Listed(path)]);

    /// <summary>All that was measured, as Markdown.</summary>
    /// <param name="joins">Moving on is counted across every so many-th frame.</param>
    public string Report(int joins)
    {
        double[] closings = [.. _videos.Select(video => Closing(video.Clip))], leaps = [.. _videos.Select(video => Leap(video.Clip))];
        double[] steps = [.. _videos.SelectMany(video => Progress(video.Asked, video.Clip, joins, beside: 1))];
        double[] means = [.. _videos.SelectMany(video => Progress(video.Asked, video.Clip, joins, beside: joins))];
        return string.Create(CultureInfo.InvariantCulture, $"""
            {AttributeScores.Table(_videos.Select(video => AttributeEvaluator.Evaluate(
                video.Clip.Pixels.Span, video.Clip.FrameCount, video.Clip.Height, video.Clip.Width, video.Asked)))}

            Loops: from the last to the first frame no further than the median from frame to frame in {closings.Count(ratio => ratio <= 1)} of {closings.Length} videos;
            the ratio is {closings.Order().ElementAt(closings.Length / 2):F2} in the median and {closings.Max():F2} at most. The largest of all steps, that one included, is
            {leaps.Order().ElementAt(leaps.Length / 2):F2} times their median in the median and {leaps.Max():F2} at most.
            Motion: {steps.Count(step => step > 0)} of {steps.Length} steps go on as the prompt says ({steps.Count(step => Math.Abs(step) < 0.25)} are below a quarter of a pixel; the worst is
            {steps.DefaultIfEmpty().Min():F2} pixels){(joins == 1 ? "" : $", and {means.Count(step => step > 0)} of {means.Length} from the mean of {joins} frames to that of the next {joins}")}.
            """);
    }

    /// <summary>The mean difference of the last and the first frame, over the median of that of neighbours.</summary>
    private static double Closing(VideoClip clip)
        => Difference(clip.Frame(clip.FrameCount - 1), clip.Frame(0)) / Median(Steps(clip));

    /// <summary>The largest mean difference of neighbours, the last and the first frame too, over the median of all.</summary>
    private static double Leap(VideoClip clip)
    {
        double[] steps = [.. Steps(clip), Difference(clip.Frame(clip.FrameCount - 1), clip.Frame(0))];
        return steps.Max() / Median(steps);
    }

    private static IEnumerable<double> Steps(VideoClip clip) => Enumerable.Range(1, clip.FrameCount - 1).Select(f => Difference(clip.Frame(f - 1), clip.Frame(f)));

    private static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return Math.Max(1e-9, (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2);
    }

    private static double Difference(ReadOnlySpan<byte> a, ReadOnlySpan<byte> b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; i++)
            sum += Math.Abs(a[i] - b[i]);
        return sum / a.Length;
    }

    /// <summary>
    /// How far the object goes on across a join, in pixels, from the mean of so many frames before it to that of as many after it; nothing where one of them shows none.
    /// </summary>
    private static IEnumerable<double> Progress(ShapeCombination asked, VideoClip clip, int joins, int beside)
    {
        double?[] places = [.. Enumerable.Range(0, clip.FrameCount).Select(f => ObjectMask.Of(clip.Frame(f)) is { Count: > 0 } mask ? Place(asked, mask) : (double?)null)];
        for (int join = joins; join + beside <= places.Length; join += joins)
            if (places[(join - beside)..(join + beside)] is var near && near.All(place => place is not null))
                yield return near[beside..].Average()!.Value - near[..beside].Average()!.Value;
    }

    /// <summary>How far an object is the way that it is said to go; of one that grows or shrinks the side of a square as large.</summary>
    private static double Place(ShapeCombination asked, ObjectMask mask) => asked.Motion switch
    {
        0 => -mask.Centroid.X,
        1 => mask.Centroid.X,
        2 => -mask.Centroid.Y,
        3 => mask.Centroid.Y,
        4 => Math.Sqrt(mask.Count),
        _ => -Math.Sqrt(mask.Count),
    };

    private static IEnumerable<(ShapeCombination, VideoClip)> Listed(string file)
    {
        try
        {
            var listed = JsonSerializer.Deserialize<Listing>(File.ReadAllText(file), s_json)?.Videos;
            return listed is { Count: > 0 } ? listed.Select(video => Open(video.Prompt, video.Path, new VideoReadOptions
            {
                FrameCount = video.Frames, Width = video.Width, Height = video.Height, FrameRate = video.FrameRate, ShortClip = ShortClip.Refuse,
            })) : throw new JsonException("It lists no videos.");
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"'{file}' is not what mobius generate --json prints: {e.Message}", e);
        }
    }

    private static (ShapeCombination, VideoClip) Open(string caption, string video, VideoReadOptions options)
        => ShapeSpec.TryParse(caption, out ShapeCombination asked) ? (asked, VideoReader.Read(video, options))
            : throw new InvalidDataException($"'{caption}', the caption of '{video}', is none of the shapes.");

    private sealed record Listing(IReadOnlyList<ListedVideo>? Videos);

    private sealed record ListedVideo(string Path, string Prompt, int Frames, int Width, int Height, double FrameRate);
}
