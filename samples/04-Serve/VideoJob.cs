namespace Microsoft.ML.Mobius.Samples.Serve;

/// <summary>How far a video is.</summary>
internal enum VideoStatus
{
    Waiting,
    Running,
    Done,
    Failed,
    Cancelled,
}

/// <summary>Where a job stands, as visitors are told.</summary>
/// <param name="Id">Of the job.</param>
/// <param name="Prompt">What the video is to show.</param>
/// <param name="Seed">The same seed and prompt give the same video.</param>
/// <param name="Status">How far it is.</param>
internal sealed record VideoState(Guid Id, string Prompt, long Seed, VideoStatus Status = VideoStatus.Waiting)
{
    /// <summary>Jobs that come first, the running one among them.</summary>
    public int Ahead { get; init; }

    /// <summary>Denoising steps done.</summary>
    public int Step { get; init; }

    /// <summary>Denoising steps in all; 0 before the first.</summary>
    public int Steps { get; init; }

    /// <summary>The step that the preview was made after; 0: there is none.</summary>
    public int Preview { get; init; }

    /// <summary>Time that it took, once it has ended.</summary>
    public double Seconds { get; init; }

    /// <summary>Why there is no video.</summary>
    public string? Error { get; init; }

    public bool HasEnded => Status is VideoStatus.Done or VideoStatus.Failed or VideoStatus.Cancelled;
}

/// <summary>A video to be made.</summary>
/// <param name="request">What was asked for.</param>
/// <param name="folder">For its files.</param>
internal sealed class VideoJob(VideoRequest request, string folder)
{
    private readonly CancellationTokenSource _cancellation = new();

    public VideoRequest Request => request;

    /// <summary>Guarded by the queue's lock.</summary>
    public VideoState State { get; set; } = new(Guid.NewGuid(), request.Prompt!.Trim(), request.Seed ?? Random.Shared.Next());

    /// <summary>The number of the last change among those of all jobs; guarded by the queue's lock.</summary>
    public long Change { get; set; }

    public CancellationToken Token => _cancellation.Token;

    public string VideoFile => Path.Combine(folder, $"{State.Id}.mp4");

    public string PreviewFile => Path.Combine(folder, $"{State.Id}.png");

    public void Cancel() => _cancellation.Cancel();
}
