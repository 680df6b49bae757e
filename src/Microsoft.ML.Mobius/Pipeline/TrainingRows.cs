using Microsoft.ML.Data;
using Microsoft.ML.Mobius.Text;
using Microsoft.ML.Mobius.Video;
using Microsoft.ML.Runtime;

namespace Microsoft.ML.Mobius;

/// <summary>
/// Reads captions and clips from a view, row by row and in order, one clip in memory at a time. Errors name the row, counted from 0.
/// </summary>
internal sealed class TrainingRows(IDataView view, TextToVideoTrainer.Options options, ClipTokenizer tokenizer, IChannel channel)
{
    private const int CutCaptionsTold = 3;

    private int _cutCaptions;

    /// <summary>Goes through the view once.</summary>
    /// <exception cref="InvalidDataException">A row cannot be used.</exception>
    public IEnumerable<(string Caption, VideoClip Clip)> Read()
    {
        var captions = view.Schema[options.InputColumnName];
        var clips = view.Schema[options.ClipColumnName];
        using var cursor = view.GetRowCursor(captions, clips);
        var getCaption = cursor.GetGetter<ReadOnlyMemory<char>>(captions);
        Func<VideoClip> nextClip = clips.Type is VideoDataViewType ? Videos(cursor, clips) : Files(cursor, clips);
        ReadOnlyMemory<char> caption = default;
        while (cursor.MoveNext())
        {
            getCaption(ref caption);
            yield return (Checked(caption.ToString(), cursor.Position), Next(nextClip, cursor.Position));
        }
        if (_cutCaptions > CutCaptionsTold)
            channel.Warning($"{_cutCaptions} captions in all were longer than {tokenizer.MaxLength - 2} tokens and were cut.");
    }

    private string Checked(string caption, long row)
    {
        if (string.IsNullOrWhiteSpace(caption))
            throw new InvalidDataException($"Row {row}: the caption in column '{options.InputColumnName}' is empty.");
        var tokens = tokenizer.Encode(caption);
        if (tokens.IsCut && ++_cutCaptions <= CutCaptionsTold)
            channel.Warning($"Row {row}: the caption has {tokens.TokenCount} tokens, the model reads {tokenizer.MaxLength - 2}; its end is cut.");
        return caption;
    }

    private static VideoClip Next(Func<VideoClip> nextClip, long row)
    {
        try
        {
            return nextClip();
        }
        catch (Exception e) when (e is IOException or InvalidDataException or UnauthorizedAccessException)
        {
            throw new InvalidDataException($"Row {row}: {e.Message}", e);
        }
    }

    private Func<VideoClip> Files(DataViewRow row, DataViewSchema.Column column)
    {
        var get = row.GetGetter<ReadOnlyMemory<char>>(column);
        ReadOnlyMemory<char> path = default;
        return () =>
        {
            get(ref path);
            return path.Span.IsWhiteSpace() ? throw new InvalidDataException($"the path in column '{column.Name}' is empty.")
                : VideoReader.Read(path.ToString(), options.Reading, options.CancellationToken);
        };
    }

    private Func<VideoClip> Videos(DataViewRow row, DataViewSchema.Column column)
    {
        var get = row.GetGetter<VideoClip?>(column);
        VideoClip? clip = null;
        return () =>
        {
            get(ref clip);
            return Fitting(clip ?? throw new InvalidDataException($"there is no clip in column '{column.Name}'."));
        };
    }

    /// <summary>The clip with exactly as many frames as are asked for, as the reader would have made it.</summary>
    private VideoClip Fitting(VideoClip clip)
    {
        if ((clip.Height, clip.Width) != (options.Height, options.Width))
            throw new InvalidDataException(
                $"the clip's frames are {clip.Width}x{clip.Height} pixels, {options.Width}x{options.Height} are expected.");
        if (clip.FrameCount == options.FrameCount)
            return clip;
        if (clip.FrameCount < options.FrameCount && options.ShortClip == ShortClip.Refuse)
            throw new InvalidDataException($"the clip is too short: it has {clip.FrameCount} frames, {options.FrameCount} are asked for.");

        int size = clip.Height * clip.Width * 3;
        var pixels = new byte[options.FrameCount * size];
        for (int k = 0; k < options.FrameCount; k++)
        {
            int from = options.ShortClip == ShortClip.Hold ? Math.Min(k, clip.FrameCount - 1) : k % clip.FrameCount;
            clip.Frame(from).CopyTo(pixels.AsSpan(k * size));
        }
        return new VideoClip(pixels, options.FrameCount, clip.Height, clip.Width, clip.FrameRate, clip.Source);
    }
}
