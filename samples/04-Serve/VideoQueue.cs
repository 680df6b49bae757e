using System.Runtime.CompilerServices;
using System.Threading.Channels;

namespace Microsoft.ML.Mobius.Samples.Serve;

/// <summary>The jobs: a bounded number that wait, the one that runs, and the last ones that have ended.</summary>
/// <remarks>May be used from several threads. A job that is cancelled while it waits keeps its place until its turn.</remarks>
internal sealed class VideoQueue : IDisposable
{
    private readonly ServeOptions _options;
    private readonly Channel<VideoJob> _waiting;
    private readonly Lock _gate = new();
    private readonly List<VideoJob> _jobs = [];         // the oldest first
    private TaskCompletionSource _changed = NewSignal();
    private long _changes;
    private bool _stopped;

    public VideoQueue(ServeOptions options)
        => (_options, _waiting) = (options, Channel.CreateBounded<VideoJob>(options.QueueLength));

    /// <summary>Holds the files of the jobs; deleted in the end.</summary>
    public string Folder { get; } = Directory.CreateTempSubdirectory("mobius-serve-").FullName;

    /// <summary>Seconds that the last video took: a place in a full queue is free by then.</summary>
    public double LastSeconds { get; private set; } = 5;

    /// <summary>Takes a request in; null if the queue is full, or the server ends.</summary>
    public VideoState? TryAdd(VideoRequest request)
    {
        lock (_gate)
        {
            var job = new VideoJob(request, Folder);
            job.State = job.State with { Ahead = _jobs.Count(other => !other.State.HasEnded) };
            if (!_waiting.Writer.TryWrite(job))
                return null;
            _jobs.Add(job);
            Note(job);
            Forget();
            return job.State;
        }
    }

    /// <summary>A job that is not yet forgotten.</summary>
    public VideoJob? Find(Guid id)
    {
        lock (_gate)
            return _jobs.Find(job => job.State.Id == id);
    }

    /// <summary>All that are not yet forgotten, the newest first.</summary>
    public VideoState[] States()
    {
        lock (_gate)
            return [.. _jobs.Select(job => job.State).Reverse()];
    }

    /// <summary>Ends a job: at once if it waits, after its step if it runs; one that has ended stays as it is.</summary>
    public void Cancel(VideoJob job)
    {
        lock (_gate)
        {
            if (job.State.Status == VideoStatus.Waiting)
                Set(job, job.State with { Status = VideoStatus.Cancelled });
            job.Cancel();
        }
    }

    /// <summary>The jobs to be made, one after the other, until <see cref="Stop"/>.</summary>
    public async IAsyncEnumerable<VideoJob> Work()
    {
        await foreach (var job in _waiting.Reader.ReadAllAsync())
        {
            lock (_gate)
            {
                if (job.State.HasEnded)
                    continue;
                Set(job, job.State with { Status = VideoStatus.Running, Ahead = 0 });
            }
            yield return job;
        }
    }

    /// <summary>Tells how far a running job is.</summary>
    public void Tell(VideoJob job, Func<VideoState, VideoState> change)
    {
        lock (_gate)
            Set(job, change(job.State));
    }

    /// <summary>
    /// States as they change, after those that there are: of all jobs, until <see cref="Stop"/>, or of one, until it has ended. A reader that
    /// is slow is told the newest state alone.
    /// </summary>
    public async IAsyncEnumerable<VideoState> Follow(VideoJob? one, [EnumeratorCancellation] CancellationToken token)
    {
        for (long seen = 0; ;)
        {
            VideoState[] news;
            Task more;
            bool ended;
            lock (_gate)
            {
                IEnumerable<VideoJob> followed = one is null ? _jobs : [one];
                news = [.. followed.Where(job => job.Change > seen).Select(job => job.State)];
                ended = one?.State.HasEnded ?? (_stopped && _jobs.TrueForAll(job => job.State.HasEnded));
                (seen, more) = (_changes, _changed.Task);
            }
            foreach (var state in news)
                yield return state;
            if (ended)
                yield break;
            await more.WaitAsync(token);
        }
    }

    /// <summary>Takes nothing in any more, and cancels what is not done.</summary>
    public void Stop()
    {
        lock (_gate)
        {
            _stopped = true;
            _waiting.Writer.TryComplete();
            foreach (var job in _jobs.ToArray())        // some are forgotten meanwhile
                Cancel(job);
            Signal();
        }
    }

    public void Dispose() => Directory.Delete(Folder, recursive: true);

    private void Set(VideoJob job, VideoState state)
    {
        job.State = state;
        Note(job);
        if (!state.HasEnded)
            return;
        if (state.Status == VideoStatus.Done)
            LastSeconds = state.Seconds;
        foreach (var (ahead, other) in _jobs.Where(other => !other.State.HasEnded).Index())
            if (other.State.Ahead != ahead)
            {
                other.State = other.State with { Ahead = ahead };
                Note(other);
            }
        Forget();
    }

    private void Note(VideoJob job)
    {
        job.Change = ++_changes;
        Signal();
    }

    private void Signal()
    {
        _changed.TrySetResult();
        _changed = NewSignal();
    }

    private void Forget()
    {
        foreach (var job in _jobs.Where(job => job.State.HasEnded).SkipLast(_options.JobsKept).ToArray())
        {
            _jobs.Remove(job);
            File.Delete(job.VideoFile);
        }
    }

    // Whoever waits goes on in a thread of its own, not under the lock.
    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
