using System.Buffers.Binary;
using System.Security.Cryptography;
using Microsoft.ML.Data;
using Microsoft.ML.Mobius.Text;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.Video;
using Microsoft.ML.Runtime;

namespace Microsoft.ML.Mobius;

/// <summary>A row of training data.</summary>
/// <param name="Caption">Not empty.</param>
/// <param name="Clips">What was read of its video: a clip for each window, and each once more where they are mirrored; empty if its latents were cached.</param>
/// <param name="Latents">Those of the cache, which belong to the caller; null if there are none.</param>
/// <param name="Key">Where the cache shall keep its latents; null without a cache.</param>
internal sealed record TrainingRow(string Caption, IReadOnlyList<VideoClip> Clips, IReadOnlyList<ClipLatents>? Latents, string? Key);

/// <summary>
/// Reads captions and clips from a view, row by row and in order, a few rows in memory at a time. Errors name the row, counted from 0.
/// </summary>
internal sealed class TrainingRows(
    IDataView view, TextToVideoTrainer.Options options, ClipShapes shapes, ClipTokenizer tokenizer, LatentCache? cache, IChannel channel)
{
    private const int CutCaptionsTold = 3;

    /// <summary>Bytes of frames that are held at a time, unless one clip alone has more.</summary>
    private const long MostHeld = 200_000_000;

    /// <summary>Of a pixel: as it is decoded, laid over white, in a window, and mirrored.</summary>
    private const int BytesOfPixel = 4 + 3 + 3 + 3;

    private int _cutCaptions, _rows;

    /// <summary>Rows that were left out.</summary>
    public int Skipped { get; private set; }

    /// <summary>Goes through the view once. Files are decoded ahead, as many as there are processors and memory allows, and given in the order of the rows.</summary>
    /// <param name="isWanted">Says by its number whether a row is read; null reads all.</param>
    /// <exception cref="InvalidDataException">A row cannot be used.</exception>
    public IEnumerable<TrainingRow> Read(Func<long, bool>? isWanted = null)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(options.CancellationToken);
        var captions = view.Schema[options.InputColumnName];
        var clips = view.Schema[options.ClipColumnName];
        using var cursor = view.GetRowCursor(captions, clips);
        var getCaption = cursor.GetGetter<ReadOnlyMemory<char>>(captions);
        Func<Task<Loaded>> begin = clips.Type is VideoDataViewType ? Videos(cursor, clips) : Files(cursor, clips, stop.Token);
        ReadOnlyMemory<char> caption = default;
        var ahead = new Queue<(long Row, string Caption, Task<Loaded> Clip)>();
        int most = RowsAhead(Environment.ProcessorCount);
        try
        {
            while (cursor.MoveNext())
            {
                if (isWanted?.Invoke(cursor.Position) == false)
                    continue;
                getCaption(ref caption);
                string text = caption.ToString();
                ahead.Enqueue((cursor.Position, text, begin()));
                if (ahead.Count >= most && Next(ahead) is { } row)
                    yield return row;
            }
            while (ahead.Count > 0)
                if (Next(ahead) is { } row)
                    yield return row;
        }
        finally
        {
            stop.Cancel();
            Task.WhenAll(ahead.Select(row => row.Clip)).ContinueWith(_ => { }).Wait();   // no decoder outlives the reading
            foreach (var latents in ahead.Where(row => row.Clip.IsCompletedSuccessfully).SelectMany(row => row.Clip.Result.Latents ?? []))
                latents.Dispose();
        }
        if (_cutCaptions > CutCaptionsTold)
            channel.Warning($"{_cutCaptions} captions in all were longer than {tokenizer.MaxLength - 2} tokens and were cut.");
        if (Skipped > 0)
            channel.Warning($"{Skipped} of {_rows} rows were skipped, for their clips could not be read.");
    }

    /// <summary>Rows whose clips may be held at a time, the one in use with them.</summary>
    internal int RowsAhead(int processors) => (int)Math.Clamp(
        MostHeld / ((long)options.MostFrames(shapes) * shapes.Sizes.Max(size => size.Height * size.Width) * BytesOfPixel), 1, processors);

    /// <summary>The first row, whose clip is waited for; null if it is skipped.</summary>
    private TrainingRow? Next(Queue<(long Row, string Caption, Task<Loaded> Clip)> ahead)
    {
        var (row, caption, loading) = ahead.Peek();
        string text = Checked(caption, row);
        _rows++;
        try
        {
            var loaded = loading.GetAwaiter().GetResult();
            if (loaded.Damage is { } damage)
                channel.Warning($"Row {row}: {damage}");
            return new TrainingRow(text, loaded.Clips, loaded.Latents, loaded.Key);
        }
        catch (Exception e) when (e is IOException or InvalidDataException or UnauthorizedAccessException)
        {
            string problem = $"Row {row}: {e.Message}";
            if (options.BrokenClips == BrokenClip.Stop)
                throw new InvalidDataException(problem, e);
            channel.Warning($"{problem} It is skipped.");
            Skipped++;
            return null;
        }
        finally
        {
            ahead.Dequeue();
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

    private Func<Task<Loaded>> Files(DataViewRow row, DataViewSchema.Column column, CancellationToken stop)
    {
        var get = row.GetGetter<ReadOnlyMemory<char>>(column);
        ReadOnlyMemory<char> value = default;
        return () =>
        {
            get(ref value);
            string path = value.ToString();
            return Task.Run(() => string.IsNullOrWhiteSpace(path) ? throw new InvalidDataException($"the path in column '{column.Name}' is empty.")
                : InTime(path, stop), CancellationToken.None);
        };
    }

    private Loaded InTime(string path, CancellationToken stop)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(stop);
        if (options.ClipSeconds > 0)
            limit.CancelAfter(TimeSpan.FromSeconds(options.ClipSeconds));
        try
        {
            return Load(path, limit.Token);
        }
        catch (OperationCanceledException e) when (!stop.IsCancellationRequested)
        {
            throw new InvalidDataException(FormattableString.Invariant($"'{path}' was not read in {options.ClipSeconds} s: its decoder was stopped."), e);
        }
    }

    private Loaded Load(string path, CancellationToken stop)
    {
        if (!File.Exists(path))
            throw new FileNotFoundException($"The video '{path}' does not exist.", path);
        byte[] content = cache is null && !options.RandomCrop ? [] : Content(path);
        string? key = cache?.KeyOf(Convert.ToHexStringLower(content)), damage = null;
        if (key is not null && cache!.Find(key, out damage) is { } found)
            return new Loaded([], found, key, null);

        var (height, width) = shapes.Sizes.Count == 1 ? shapes.Sizes[0] : shapes.SizeOf(VideoReader.AspectRatio(path, stop));
        var frames = VideoReader.ReadFrames(path, new FrameReading(options.MostFrames(shapes), height, width, options.FrameRate)
        {
            Stride = options.FrameStride,
            CropAt = options.RandomCrop ? (Share(content, 0), Share(content, sizeof(uint))) : null,
        }, stop);
        return new Loaded(Cut(frames), null, key, damage);
    }

    private static byte[] Content(string path)
    {
        using var file = File.OpenRead(path);
        return SHA256.HashData(file);
    }

    /// <summary>A number from 0 to 1 that follows from a hash.</summary>
    private static double Share(byte[] hash, int from) => BinaryPrimitives.ReadUInt32LittleEndian(hash.AsSpan(from)) / (double)uint.MaxValue;

    private Func<Task<Loaded>> Videos(DataViewRow row, DataViewSchema.Column column)
    {
        var get = row.GetGetter<VideoClip?>(column);
        VideoClip? clip = null;
        return () =>
        {
            try
            {
                get(ref clip);
                return Task.FromResult(Load(clip ?? throw new InvalidDataException($"there is no clip in column '{column.Name}'.")));
            }
            catch (Exception e) when (e is IOException or InvalidDataException or UnauthorizedAccessException)
            {
                return Task.FromException<Loaded>(e);
            }
        };
    }

    private Loaded Load(VideoClip clip)
    {
        if (!shapes.Sizes.Contains((clip.Height, clip.Width)))
            throw new InvalidDataException($"the clip's frames are {clip.Width}x{clip.Height} pixels, "
                + $"{string.Join(" or ", shapes.Sizes.Select(size => $"{size.Width}x{size.Height}"))} are expected.");
        string? key = cache?.KeyOf(ClipLatents.HashOf(clip)), damage = null;
        return key is not null && cache!.Find(key, out damage) is { } found ? new Loaded([], found, key, null)
            : new Loaded(Cut(clip.Strided(Math.Max(1, options.FrameStride))), null, key, damage);
    }

    /// <summary>The windows of a video, each of one of the lengths asked for, and each once more mirrored where that is asked for.</summary>
    private VideoClip[] Cut(VideoClip video)
    {
        int count = shapes.FramesOf(video.FrameCount), stride = options.WindowStride > 0 ? options.WindowStride : count;
        if (video.FrameCount < count && options.ShortClip == ShortClip.Refuse)
            throw new InvalidDataException($"{(video.Source is { } file ? $"'{file}'" : "the clip")} is too short: "
                + $"it has {video.FrameCount} frames, {count} are asked for.");
        int windows = Math.Clamp((video.FrameCount - count) / stride + 1, 1, options.Windows);
        VideoClip[] cut = [.. Enumerable.Range(0, windows).Select(i => video.Window(i * stride, count, options.ShortClip))];
        return options.Mirror ? [.. cut, .. cut.Select(clip => clip.Mirrored())] : cut;
    }

    private sealed record Loaded(IReadOnlyList<VideoClip> Clips, IReadOnlyList<ClipLatents>? Latents, string? Key, string? Damage);
}
