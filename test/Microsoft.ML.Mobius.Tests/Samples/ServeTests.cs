using System.Diagnostics;
using System.Net;
using System.Net.Http.Json;
using System.Net.ServerSentEvents;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.ML.Mobius.Samples.Serve;

namespace Microsoft.ML.Mobius.Tests.Samples;

/// <summary>The server over HTTP, with the tiny model: 2 frames of 16x16 pixels in 2 steps.</summary>
[TestClass]
public sealed class ServeTests
{
    private const int Long = 1000;          // steps: some seconds

    private readonly TempFolder _files = new();
    private WebApplication? _app;
    private HttpClient _http = new();

    public required TestContext TestContext { get; init; }

    [ClassInitialize]
    public static void Start(TestContext _) => TinyPipeline.UseOneThread();

    [ClassCleanup]
    public static void End() => TinyPipeline.UseUsualThreads();

    [TestInitialize]
    public void SaveModel()
    {
        var tiny = new TinyPipeline();
        using var model = tiny.Untrained();
        tiny.ML.Model.Save(model, tiny.Prompts().Schema, _files.File("model.zip"));
    }

    [TestCleanup]
    public async Task Stop()
    {
        _http.Dispose();
        if (_app is not null)
            await _app.DisposeAsync();
        _files.Dispose();
    }

    [TestMethod]
    public async Task Post_Prompt_GivesProgressThenAVideoThatFfprobeReads()
    {
        await Start();
        var answer = await Post("a fox", steps: 8);
        Assert.AreEqual(HttpStatusCode.Accepted, answer.StatusCode);
        var asked = await Json(answer);
        Assert.AreEqual($"/videos/{asked["id"]}", $"{answer.Headers.Location}");

        var states = await Events($"/videos/{asked["id"]}/events").ToArrayAsync();

        int[] steps = [.. states.Select(state => state["step"]!.GetValue<int>())];
        CollectionAssert.AreEqual(steps.Order().ToArray(), steps);
        Assert.AreEqual(8, steps[^1]);
        var last = states[^1];
        Assert.AreEqual(("done", "a fox", 8), ($"{last["status"]}", $"{last["prompt"]}", last["steps"]!.GetValue<int>()));
        byte[] video = await _http.GetByteArrayAsync($"/videos/{asked["id"]}/video.mp4");
        Assert.AreEqual("h264,64,64,2", Probe(_files.File("video.mp4", video)));

        using var part = new HttpRequestMessage(HttpMethod.Get, $"/videos/{asked["id"]}/video.mp4") { Headers = { Range = new(0, 9) } };
        using var parted = await _http.SendAsync(part);
        Assert.AreEqual(HttpStatusCode.PartialContent, parted.StatusCode);
        CollectionAssert.AreEqual(video[..10], await parted.Content.ReadAsByteArrayAsync());

        var again = await Json(await Post("a fox", steps: 8, seed: last["seed"]!.GetValue<long>()));
        await Ended(again);
        CollectionAssert.AreEqual(video, await _http.GetByteArrayAsync($"/videos/{again["id"]}/video.mp4"));
        var ids = (await States()).Select(state => $"{state["id"]}").ToArray();
        CollectionAssert.AreEqual(new[] { $"{again["id"]}", $"{asked["id"]}" }, ids);
    }

    [TestMethod]
    public async Task Delete_RunningAndWaiting_EndsBothAndTheNextIsMade()
    {
        await Start();
        var (running, waiting, next) = (await Json(await Post("a", Long)), await Json(await Post("b", Long)), await Json(await Post("c")));
        Assert.AreEqual((0, 1, 2), (Ahead(running), Ahead(waiting), Ahead(next)));
        await foreach (var state in Events($"/videos/{running["id"]}/events"))
            if (state["preview"]!.GetValue<int>() > 0)
                break;
        byte[] preview = await _http.GetByteArrayAsync($"/videos/{running["id"]}/preview.png");
        Assert.AreEqual("PNG", Encoding.ASCII.GetString(preview[1..4]));

        Assert.AreEqual(HttpStatusCode.NoContent, (await _http.DeleteAsync($"/videos/{waiting["id"]}")).StatusCode);
        Assert.AreEqual("cancelled", $"{(await Json(await _http.GetAsync($"/videos/{waiting["id"]}")))["status"]}");
        Assert.AreEqual(HttpStatusCode.NoContent, (await _http.DeleteAsync($"/videos/{running["id"]}")).StatusCode);

        var cancelled = await Ended(running);
        Assert.AreEqual("cancelled", $"{cancelled["status"]}");
        Assert.IsLessThan(Long, cancelled["step"]!.GetValue<int>());
        Assert.AreEqual("done", $"{(await Ended(next))["status"]}");
        Assert.AreEqual(HttpStatusCode.NotFound, (await _http.GetAsync($"/videos/{running["id"]}/video.mp4")).StatusCode);
        Assert.AreEqual(HttpStatusCode.NotFound, (await _http.GetAsync($"/videos/{running["id"]}/preview.png")).StatusCode);

        static int Ahead(JsonObject state) => state["ahead"]!.GetValue<int>();
    }

    [TestMethod]
    public async Task Post_TwentyAtOnce_AreEachDoneOrRefusedAndTheOldestForgotten()
    {
        await Start("--Serve:QueueLength", "5", "--Serve:JobsKept", "3");
        var first = await Json(await Post("first", Long));

        var answers = await Task.WhenAll(Enumerable.Range(0, 20).Select(i => Post($"video {i}")));

        var refused = answers.Where(answer => answer.StatusCode == HttpStatusCode.ServiceUnavailable).ToArray();
        var taken = await Task.WhenAll(answers.Where(answer => answer.StatusCode == HttpStatusCode.Accepted).Select(Json));
        Assert.AreEqual(20, refused.Length + taken.Length);
        Assert.IsTrue(taken.Length is 5 or 6, $"{taken.Length}");      // the worker may have taken the first by then, or not
        Assert.IsTrue(refused.All(answer => answer.Headers.RetryAfter!.Delta > TimeSpan.Zero));
        Assert.Contains("queue is full", $"{(await Json(refused[0]))["detail"]}");
        await _http.DeleteAsync($"/videos/{first["id"]}");
        var ends = await Task.WhenAll(taken.Select(Ended));
        Assert.IsTrue(ends.All(state => $"{state["status"]}" == "done"));
        Assert.HasCount(3, await States());
        Assert.HasCount(3, Directory.GetFiles(Queue.Folder));
        Assert.AreEqual(HttpStatusCode.NotFound, (await _http.GetAsync($"/videos/{first["id"]}")).StatusCode);
    }

    [TestMethod]
    [DataRow("""{"prompt": " "}""", "prompt", "Say what")]
    [DataRow("""{"prompt": "0123456789x"}""", "prompt", "11 characters; 10 are")]
    [DataRow("""{"prompt": "a", "frames": 33}""", "frames", "1 to 32")]
    [DataRow("""{"prompt": "a", "width": 257}""", "width", "1 to 256")]
    [DataRow("""{"prompt": "a", "steps": 0}""", "steps", "1 to 1000")]
    public async Task Post_BeyondTheLimits_IsRefusedByField(string body, string field, string said)
    {
        await Start("--Serve:LongestPrompt", "10");
        using var answer = await _http.PostAsync("/videos", new StringContent(body, Encoding.UTF8, "application/json"));
        Assert.AreEqual(HttpStatusCode.BadRequest, answer.StatusCode);
        Assert.Contains(said, $"{(await Json(answer))["errors"]![field]}");
        Assert.IsEmpty(await States());
    }

    [TestMethod]
    public async Task Post_WhatIsNoRequest_IsRefused()
    {
        await Start();
        await Refuses(HttpStatusCode.BadRequest, "{");
        await Refuses(HttpStatusCode.BadRequest, """{"prompt": "a", "framess": 4}""");
        await Refuses(HttpStatusCode.RequestEntityTooLarge, $$"""{"prompt": "{{new string('a', 20_000)}}"}""");
        Assert.AreEqual(HttpStatusCode.NotFound, (await _http.GetAsync($"/videos/{Guid.Empty}")).StatusCode);
        var odd = await Json(await Post("odd", width: 17));
        var failed = await Ended(odd);
        Assert.AreEqual("failed", $"{failed["status"]}");
        Assert.Contains("Width is 17", $"{failed["error"]}");

        async Task Refuses(HttpStatusCode expected, string body)
        {
            using var answer = await _http.PostAsync("/videos", new StringContent(body, Encoding.UTF8, "application/json"));
            Assert.AreEqual(expected, answer.StatusCode);
            Assert.AreEqual((int)expected, (await Json(answer))["status"]!.GetValue<int>());
        }
    }

    [TestMethod]
    public async Task Stop_WhileOneRuns_EndsAllThatFollowAndLeavesNoFile()
    {
        await Start();
        await Post("a", Long);
        await Post("b", Long);
        var all = new List<JsonObject>();
        var following = Task.Run(async () =>
        {
            await foreach (var state in Events("/events"))
                all.Add(state);
        });
        while (!all.ToArray().Any(state => $"{state["status"]}" == "running" && state["step"]!.GetValue<int>() > 0))
            await Task.Delay(5);

        var clock = Stopwatch.StartNew();
        await _app!.StopAsync();
        await following.WaitAsync(TimeSpan.FromSeconds(10));

        Assert.IsLessThan(10, clock.Elapsed.TotalSeconds);
        var last = all.GroupBy(state => $"{state["id"]}").Select(states => $"{states.Last()["status"]}").ToArray();
        CollectionAssert.AreEqual(new[] { "cancelled", "cancelled" }, last);
        string folder = Queue.Folder;
        await _app.DisposeAsync();
        Assert.IsFalse(Directory.Exists(folder));
    }

    [TestMethod]
    public void Build_SettingsThatCannotBe_AreNamed()
    {
        Assert.Contains("Serve:QueueLength is 0", Refused("--Serve:QueueLength", "0"));
        Assert.Contains("Serve:MostFrames is 1; at least 2", Refused("--Serve:MostFrames", "1"));
        Assert.Contains("Serve:Upscale is 65", Refused("--Serve:Upscale", "65"));
        Assert.ThrowsExactly<FileNotFoundException>(() => VideoServer.Build("--Serve:Model", _files.File("gone.zip")));

        string Refused(params string[] settings)
            => Assert.ThrowsExactly<ArgumentException>(
                () => VideoServer.Build(["--Serve:Model", _files.File("model.zip"), .. settings])).Message;
    }

    [TestMethod]
    public async Task Get_Page_IsOfThisServerAlone()
    {
        await Start();
        using var page = await _http.GetAsync("/");
        Assert.AreEqual("text/html", page.Content.Headers.ContentType!.MediaType);
        Assert.Contains("default-src 'self'", page.Headers.GetValues("Content-Security-Policy").Single());
        string text = await page.Content.ReadAsStringAsync();
        Assert.DoesNotContain("//", text);
        foreach (string file in new[] { "page.js", "page.css", "icon.svg" })
        {
            Assert.Contains($"\"{file}\"", text);
            (await _http.GetAsync(file)).EnsureSuccessStatusCode();
        }
    }

    /// <summary>As a visitor uses it. Screenshots go to the folder MOBIUS_SCREENSHOTS if that is set.</summary>
    [TestMethod, TestCategory("Heavy")]
    [DataRow(1100), DataRow(360)]
    public async Task Page_InChromium_ShowsProgressThenThePlayingVideoAndCancels(int width)
    {
        await Start("--Serve:QueueLength", "5");
        await using var page = await Chromium.Open(_http.BaseAddress!, width, height: 900);
        await page.Until("document.readyState === 'complete' && kept === 40");

        await Ask("<b>a fox</b>");
        await page.Until("document.querySelector('article video')?.currentTime > 0");
        Assert.AreEqual(64, (await page.Evaluate("document.querySelector('article video').videoWidth"))!.GetValue<int>());
        Assert.AreEqual("<b>a fox</b>", $"{await page.Evaluate("document.querySelector('article .prompt').textContent")}");

        using var slow = await Post("a slow one", Long);
        await page.Until("document.querySelector('article[data-status=running] img')?.complete");
        await Picture("running");
        await page.Evaluate("document.querySelector('article[data-status=running] .cancel').click()");
        await page.Until("document.querySelector('article[data-status=cancelled]')");

        using var other = await Post("another slow one", Long);
        await page.Evaluate("prompt.value = 'many'; Promise.all([...Array(20)].map(() => form.onsubmit(new Event('submit'))))");
        await page.Until("message.textContent.includes('The queue is full')");
        await Picture("full");
        await _http.DeleteAsync($"/videos/{(await Json(other))["id"]}");
        await page.Until("document.querySelectorAll('article video').length >= 6 && !document.querySelector('progress:not([hidden])')");
        var root = await page.Evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth");
        Assert.IsTrue(root!.GetValue<bool>(), "The page is wider than the window.");
        await page.Evaluate("new Promise(resolve => setTimeout(resolve, 500))");
        await Picture("done");

        Task Ask(string text) => page.Evaluate($"prompt.value = {JsonSerializer.Serialize(text)}; form.requestSubmit()");

        Task Picture(string name) => Environment.GetEnvironmentVariable("MOBIUS_SCREENSHOTS") is { Length: > 0 } folder
            ? page.Screenshot(Path.Combine(folder, $"serve-{width}-{name}.png")) : Task.CompletedTask;
    }

    private VideoQueue Queue => (VideoQueue)_app!.Services.GetService(typeof(VideoQueue))!;

    private async Task Start(params string[] settings)
    {
        _app = VideoServer.Build(["--urls", "http://127.0.0.1:0", "--Serve:Model", _files.File("model.zip"), "--Serve:MostSteps", $"{Long}",
            "--Logging:LogLevel:Default", "Error", .. settings]);
        await _app.StartAsync(TestContext.CancellationToken);
        _http = new HttpClient { BaseAddress = new Uri(_app.Urls.Single()) };
    }

    private Task<HttpResponseMessage> Post(string prompt, int? steps = null, long? seed = null, int? width = null)
        => _http.PostAsJsonAsync("/videos", new { prompt, steps, seed, width });

    private async Task<JsonObject[]> States()
        => [.. JsonNode.Parse(await _http.GetStringAsync("/videos"))!.AsArray().Select(state => state!.AsObject())];

    private async Task<JsonObject> Ended(JsonObject job) => await Events($"/videos/{job["id"]}/events").LastAsync();

    private async IAsyncEnumerable<JsonObject> Events(string path)
    {
        using var stream = await _http.GetStreamAsync(path);
        await foreach (var item in SseParser.Create(stream).EnumerateAsync())
            yield return JsonNode.Parse(item.Data)!.AsObject();
    }

    private static async Task<JsonObject> Json(HttpResponseMessage answer)
        => JsonNode.Parse(await answer.Content.ReadAsStringAsync())!.AsObject();

    private static string Probe(string file)
    {
        var start = new ProcessStartInfo("ffprobe",
            ["-v", "error", "-count_frames", "-show_entries", "stream=codec_name,width,height,nb_read_frames", "-of", "csv=p=0", file])
        {
            RedirectStandardOutput = true,
        };
        using var process = Process.Start(start)!;
        return process.StandardOutput.ReadToEnd().Trim();
    }
}
