using System.Diagnostics;
using System.Net.WebSockets;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Microsoft.ML.Mobius.Tests;

/// <summary>A page in a headless Chromium, driven through its DevTools protocol.</summary>
internal sealed class Chromium : IAsyncDisposable
{
    private const string Listening = "DevTools listening on ";

    private static readonly string[] s_names = ["chromium", "chromium-browser", "google-chrome", "chrome"];

    private readonly TempFolder _profile = new();
    private readonly ClientWebSocket _socket = new();
    private readonly Process _process;
    private string? _session;
    private int _sent;

    // As root, as in a container, it does not start with its sandbox; it opens nothing but our own page.
    private Chromium(string program) => _process = Process.Start(new ProcessStartInfo(program, ["--headless", "--no-sandbox", "--disable-gpu",
        "--remote-debugging-port=0", $"--user-data-dir={_profile.Path}", "--autoplay-policy=no-user-gesture-required", "about:blank"])
    {
        RedirectStandardError = true,
    })!;

    /// <summary>Opens a page; ends the test as inconclusive where there is no Chromium.</summary>
    public static async Task<Chromium> Open(Uri address, int width, int height)
    {
        string[] folders = Environment.GetEnvironmentVariable("PATH")!.Split(Path.PathSeparator);
        string? program = s_names.SelectMany(name => folders.Select(folder => Path.Combine(folder, name))).FirstOrDefault(File.Exists);
        if (program is null)
            Assert.Inconclusive("There is no Chromium on the PATH.");
        var page = new Chromium(program);
        try
        {
            string? line;
            do
                line = await page._process.StandardError.ReadLineAsync();
            while (line?.StartsWith(Listening, StringComparison.Ordinal) == false);
            Assert.IsNotNull(line, "Chromium ended.");
            _ = page._process.StandardError.ReadToEndAsync();          // else it waits once the pipe is full
            await page._socket.ConnectAsync(new Uri(line[Listening.Length..]), default);
            var made = await page.Send("Target.createTarget", new() { ["url"] = "about:blank" });
            var attached = await page.Send("Target.attachToTarget", new() { ["targetId"] = $"{made["targetId"]}", ["flatten"] = true });
            page._session = $"{attached["sessionId"]}";
            await page.Send("Emulation.setDeviceMetricsOverride",
                new() { ["width"] = width, ["height"] = height, ["deviceScaleFactor"] = 1, ["mobile"] = false });
            await page.Send("Page.navigate", new() { ["url"] = $"{address}" });
            return page;
        }
        catch
        {
            await page.DisposeAsync();
            throw;
        }
    }

    /// <summary>The value of an expression of JavaScript; a promise is waited for.</summary>
    public async Task<JsonNode?> Evaluate(string expression)
    {
        var answer = await Send("Runtime.evaluate",
            new() { ["expression"] = expression, ["awaitPromise"] = true, ["returnByValue"] = true });
        return answer["exceptionDetails"] is { } thrown
            ? throw new InvalidOperationException(thrown.ToJsonString()) : answer["result"]!["value"]?.DeepClone();
    }

    /// <summary>Waits until an expression is true.</summary>
    public Task Until(string condition, int seconds = 120) => Evaluate($$"""
        new Promise((resolve, reject) => {
          const end = Date.now() + {{seconds * 1000}};
          (function look() {
            if ({{condition}}) resolve();
            else if (Date.now() > end) reject(new Error('not in time: ' + document.body.innerText));
            else setTimeout(look, 20);
          })();
        })
        """);

    /// <summary>Writes what is seen as a PNG file.</summary>
    public async Task Screenshot(string file)
        => await File.WriteAllBytesAsync(file, Convert.FromBase64String($"{(await Send("Page.captureScreenshot", []))["data"]}"));

    public async ValueTask DisposeAsync()
    {
        _session = null;
        if (_socket.State == WebSocketState.Open)
            await Send("Browser.close", []);
        else
            _process.Kill(entireProcessTree: true);
        await _process.WaitForExitAsync();
        _socket.Dispose();
        _process.Dispose();
        _profile.Dispose();
    }

    private async Task<JsonObject> Send(string method, JsonObject parameters)
    {
        var message = new JsonObject { ["id"] = ++_sent, ["method"] = method, ["params"] = parameters };
        if (_session is not null)
            message["sessionId"] = _session;
        await _socket.SendAsync(JsonSerializer.SerializeToUtf8Bytes(message), WebSocketMessageType.Text, endOfMessage: true, default);
        for (; ; )
        {
            using var received = new MemoryStream();
            var buffer = new byte[1 << 16];
            WebSocketReceiveResult part;
            do
            {
                part = await _socket.ReceiveAsync(buffer, default);
                received.Write(buffer, 0, part.Count);
            }
            while (!part.EndOfMessage);
            var answer = JsonNode.Parse(received.ToArray())!.AsObject();
            if (answer["id"]?.GetValue<int>() == _sent)         // else an event
                return answer["result"]?.AsObject() ?? throw new InvalidOperationException($"{method}: {answer.ToJsonString()}");
        }
    }
}
