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

    private readonly VideoReadOptions _reading = options.Reading;
    private int _cutCaptions;

    /// <summary>Goes through the view once. Files are decoded a few rows ahead, one per processor, and given in the order of the rows.</summary>
    /// <exception cref="InvalidDataException">A row cannot be used.</exception>
    public IEnumerable<(string Caption, VideoClip Clip)> Read()
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(options.CancellationToken);
        var captions = view.Schema[options.InputColumnName];
        var clips = view.Schema[options.ClipColumnName];
        using var cursor = view.GetRowCursor(captions, clips);
        var getCaption = cursor.GetGetter<ReadOnlyMemory<char>>(captions);
        Func<Task<VideoClip>> begin = clips.Type is VideoDataViewType ? Videos(cursor, clips) : Files(cursor, clips, stop.Token);
        ReadOnlyMemory<char> caption = default;
        var ahead = new Queue<(long Row, string Caption, Task<VideoClip> Clip)>();
        try
        {
            while (cursor.MoveNext())
            {
                getCaption(ref caption);
                string text = caption.ToString();
                ahead.Enqueue((cursor.Position, text, begin()));
                if (ahead.Count >= Environment.ProcessorCount)
                    yield return Next(ahead);
            }
            while (ahead.Count > 0)
                yield return Next(ahead);
        }
        finally
        {
            stop.Cancel();
            Task.WhenAll(ahead.Select(row => row.Clip)).ContinueWith(_ => { }).Wait();   // no decoder outlives the reading
        }
        if (_cutCaptions > CutCaptionsTold)
            channel.Warning($"{_cutCaptions} captions in all were longer than {tokenizer.MaxLength - 2} tokens and were cut.");
    }

    private (string Caption, VideoClip Clip) Next(Queue<(long Row, string Caption, Task<VideoClip> Clip)> ahead)
    {
        var (row, caption, clip) = ahead.Dequeue();
        try
        {
            return (Checked(caption, row), clip.GetAwaiter().GetResult());
        }
        catch (Exception e) when (e is IOException or InvalidDataException or UnauthorizedAccessException && !e.Message.StartsWith($"Row {row}:", StringComparison.Ordinal))
        {
            throw new InvalidDataException($"Row {row}: {e.Message}", e);
        }
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

    private Func<Task<VideoClip>> Files(DataViewRow row, DataViewSchema.Column column, CancellationToken stop)
    {
        var get = row.GetGetter<ReadOnlyMemory<char>>(column);
        ReadOnlyMemory<char> value = default;
        return () =>
        {
            get(ref value);
            string path = value.ToString();
            return Task.Run(() => string.IsNullOrWhiteSpace(path) ? throw new InvalidDataException($"the path in column '{column.Name}' is empty.")
                : VideoReader.Read(path, _reading, stop));
        };
    }

    private Func<Task<VideoClip>> Videos(DataViewRow row, DataViewSchema.Column column)
    {
        var get = row.GetGetter<VideoClip?>(column);
        VideoClip? clip = null;
        return () =>
        {
            try
            {
                get(ref clip);
                return Task.FromResult(Fitting(clip ?? throw new InvalidDataException($"there is no clip in column '{column.Name}'.")));
            }
            catch (Exception e) when (e is IOException or InvalidDataException or UnauthorizedAccessException)
            {
                return Task.FromException<VideoClip>(e);
            }
        };
    }

    /// <summary>The clip with exactly as many frames as are asked for, as the reader would have made it.</summary>
    private VideoClip Fitting(VideoClip clip)
    {
        if ((clip.Height, clip.Width) != (_reading.Height, _reading.Width))
            throw new InvalidDataException(
                $"the clip's frames are {clip.Width}x{clip.Height} pixels, {_reading.Width}x{_reading.Height} are expected.");
        if (clip.FrameCount == _reading.FrameCount)
            return clip;
        if (clip.FrameCount < _reading.FrameCount && _reading.ShortClip == ShortClip.Refuse)
            throw new InvalidDataException($"the clip is too short: it has {clip.FrameCount} frames, {_reading.FrameCount} are asked for.");

        int size = clip.Height * clip.Width * 3;
        var pixels = new byte[_reading.FrameCount * size];
        for (int k = 0; k < _reading.FrameCount; k++)
        {
            int from = _reading.ShortClip == ShortClip.Hold ? Math.Min(k, clip.FrameCount - 1) : k % clip.FrameCount;
            clip.Frame(from).CopyTo(pixels.AsSpan(k * size));
        }
        return new VideoClip(pixels, _reading.FrameCount, clip.Height, clip.Width, clip.FrameRate, clip.Source);
    }
}
