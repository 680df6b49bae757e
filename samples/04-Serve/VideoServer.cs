using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Microsoft.ML.Mobius.Samples.Serve;

/// <summary>
/// The page, and behind it: POST /videos, GET /videos and /videos/{id}, its video.mp4, preview.png and events, DELETE /videos/{id}, which
/// cancels, and /events, those of all.
/// </summary>
public static class VideoServer
{
    private const int LargestRequest = 16 << 10, MostConnections = 200;

    /// <summary>Loads the model and sets the server up; running it is left to the caller.</summary>
    /// <param name="args">Settings, as --Serve:Model model.zip.</param>
    /// <exception cref="ArgumentException">A setting is out of its range.</exception>
    /// <exception cref="IOException">The model cannot be read.</exception>
    public static WebApplication Build(params string[] args)
    {
        var builder = WebApplication.CreateBuilder(new WebApplicationOptions { Args = args, ContentRootPath = AppContext.BaseDirectory });
        var options = builder.Configuration.GetSection("Serve").Get<ServeOptions>() ?? new();
        builder.WebHost.ConfigureKestrel(kestrel =>
            (kestrel.Limits.MaxRequestBodySize, kestrel.Limits.MaxConcurrentConnections) = (LargestRequest, MostConnections));
        builder.Services.ConfigureHttpJsonOptions(json =>
            json.SerializerOptions.Converters.Add(new JsonStringEnumConverter<VideoStatus>(JsonNamingPolicy.CamelCase)));
        builder.Services.AddProblemDetails().AddSingleton(options).AddSingleton<VideoQueue>().AddSingleton(_ => Open(options.Model))
            .AddHostedService<VideoWorker>();

        var app = builder.Build();
        try
        {
            options.Check(app.Services.GetRequiredService<TextToVideoTransformer>().Generation);
            Map(app, options, app.Services.GetRequiredService<VideoQueue>());
            return app;
        }
        catch
        {
            ((IDisposable)app).Dispose();
            throw;
        }
    }

    private static void Map(WebApplication app, ServeOptions options, VideoQueue queue)
    {
        app.Lifetime.ApplicationStopping.Register(queue.Stop);
        app.UseExceptionHandler().UseStatusCodePages();
        app.Use((http, next) =>
        {
            http.Response.Headers.ContentSecurityPolicy = "default-src 'self'; frame-ancestors 'none'";
            http.Response.Headers.XContentTypeOptions = "nosniff";
            return next(http);
        });
        app.UseDefaultFiles().UseStaticFiles();

        app.MapGet("/limits", () => new { options.LongestPrompt, options.JobsKept });
        app.MapGet("/events", (CancellationToken token) => TypedResults.ServerSentEvents(queue.Follow(one: null, token)));
        app.MapGet("/videos", queue.States);
        app.MapPost("/videos", (VideoRequest request, HttpResponse response) =>
        {
            if (request.Problems(options) is { Count: > 0 } problems)
                return Results.ValidationProblem(problems);
            if (queue.TryAdd(request) is { } state)
                return Results.Accepted($"/videos/{state.Id}", state);
            response.Headers.RetryAfter = Math.Ceiling(queue.LastSeconds).ToString(CultureInfo.InvariantCulture);
            return Results.Problem("The queue is full. Try again later.", statusCode: StatusCodes.Status503ServiceUnavailable);
        });

        var video = app.MapGroup("/videos/{id:guid}");
        video.MapGet("", (Guid id) => With(id, job => Results.Ok(job.State)));
        video.MapDelete("", (Guid id) => With(id, job =>
        {
            queue.Cancel(job);
            return Results.NoContent();
        }));
        video.MapGet("/events", (Guid id, CancellationToken token) =>
            With(id, job => TypedResults.ServerSentEvents(queue.Follow(job, token))));
        video.MapGet("/video.mp4", (Guid id) => With(id, job => Send(job.VideoFile, "video/mp4")));
        video.MapGet("/preview.png", (Guid id) => With(id, job => Send(job.PreviewFile, "image/png")));

        IResult With(Guid id, Func<VideoJob, IResult> answer) => queue.Find(id) is { } job ? answer(job) : Results.NotFound();
    }

    /// <summary>The file may be deleted meanwhile.</summary>
    private static IResult Send(string file, string type)
    {
        try
        {
            var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete);
            return Results.Stream(stream, type, enableRangeProcessing: true);
        }
        catch (FileNotFoundException)
        {
            return Results.NotFound();
        }
    }

    private static TextToVideoTransformer Open(string? file)
    {
        var mlContext = new MLContext();
        if (file is null)
            return mlContext.Transforms.TextToVideo(steps: 0).Fit(mlContext.Data.LoadFromEnumerable(Array.Empty<Row>()));
        var loaded = mlContext.Model.Load(file, out _);
        IEnumerable<ITransformer> steps = loaded as IEnumerable<ITransformer> ?? [loaded];
        return steps.OfType<TextToVideoTransformer>().FirstOrDefault()
            ?? throw new InvalidDataException($"'{file}' is a saved model, but none of text to video.");
    }

    private sealed class Row
    {
        public string Caption { get; set; } = "";
    }
}
