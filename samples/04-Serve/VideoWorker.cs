using System.Diagnostics;
using Microsoft.ML.Mobius.Sampling;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Samples.Serve;

/// <summary>Makes the videos of the queue, one at a time, for each takes all the cores.</summary>
internal sealed class VideoWorker(VideoQueue queue, TextToVideoTransformer model, ServeOptions options, ILogger<VideoWorker> log)
    : BackgroundService
{
    /// <summary>Ends when the queue is stopped.</summary>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await foreach (var job in queue.Work())
            await Task.Run(() => Make(job), CancellationToken.None);
    }

    private void Make(VideoJob job)
    {
        var clock = Stopwatch.StartNew();
        try
        {
            var how = job.Request.From(model.Generation, job.State.Seed);
            var clip = model.Generate(job.State.Prompt, how, at => Tell(job, at), job.Token);
            VideoWriter.Write(job.VideoFile, clip, options.Upscale, job.Token);
            End(VideoStatus.Done);
        }
        catch (OperationCanceledException) when (job.Token.IsCancellationRequested)
        {
            End(VideoStatus.Cancelled);
        }
        catch (ArgumentException e)         // as a width that the model cannot make
        {
            End(VideoStatus.Failed, e.Message);
        }
        catch (Exception e)
        {
            log.LogError(e, "The video of '{Prompt}' could not be made.", job.State.Prompt);
            End(VideoStatus.Failed, "The video could not be made.");
        }

        void End(VideoStatus status, string? error = null)
        {
            File.Delete(job.PreviewFile);
            double seconds = Math.Round(clock.Elapsed.TotalSeconds, 2);
            queue.Tell(job, state => state with { Status = status, Preview = 0, Seconds = seconds, Error = error });
        }
    }

    private void Tell(VideoJob job, SamplingProgress at)
    {
        bool look = at.Step < at.Steps && at.Step * (options.Previews + 1) / at.Steps > (at.Step - 1) * (options.Previews + 1) / at.Steps;
        if (look)
            VideoWriter.Write(job.PreviewFile, at.Preview(), upscale: 1, job.Token);
        queue.Tell(job, state => state with { Step = at.Step, Steps = at.Steps, Preview = look ? at.Step : state.Preview });
    }
}
