using System.Diagnostics;
using System.Text.Json.Nodes;

namespace Microsoft.ML.Mobius.Tests.Samples;

/// <summary>The main job on the embedded base, ended from outside.</summary>
[TestClass]
public sealed class KilledJobTests
{
    private const string Program = "Microsoft.ML.Mobius.Samples.MainJob.dll";

    private readonly SmallVideos _files = new();

    [TestCleanup]
    public void RemoveFiles() => _files.Dispose();

    [TestMethod]
    public void Fit_KilledThreeTimes_EndsAsTheUninterruptedRunBitForBit() => KillAndResume(kills: 3, steps: 6, every: 1);

    [TestMethod, TestCategory("Heavy")]
    public void Fit_KilledTwentyTimes_EndsAsTheUninterruptedRunBitForBit() => KillAndResume(kills: 20, steps: 200, every: 5);

    [TestMethod]
    public void Fit_Terminated_SavesAndSaysSo()
    {
        if (OperatingSystem.IsWindows())
            Assert.Inconclusive("There is no SIGTERM.");
        string clips = Clips();
        using var job = SecondProcess.Start(Program, Arguments(clips, "out", steps: 1000, every: 1000));
        var error = job.StandardError.ReadToEndAsync();
        while (job.StandardOutput.ReadLine() is { } line && !line.StartsWith("step ", StringComparison.Ordinal))
            continue;
        using (var kill = Process.Start("kill", ["-TERM", $"{job.Id}"]))
            kill.WaitForExit();
        job.StandardOutput.ReadToEnd();
        job.WaitForExit();

        Assert.AreEqual(143, job.ExitCode, error.Result);
        Assert.Contains("Terminated.", error.Result);
        Assert.HasCount(1, Directory.GetDirectories(_files.PathOf("out", "checkpoints")));
    }

    /// <summary>Kills at random moments, every third time as a checkpoint is written, and every third as the cache is.</summary>
    private void KillAndResume(int kills, int steps, int every)
    {
        string clips = Clips(), checkpoints = _files.PathOf("killed", "checkpoints"), cache = _files.PathOf("killed", "cache");
        var (start, work) = Finish(clips, "whole", steps, every);
        var random = new Random(steps);
        int inCheckpoint = 0, inCache = 0;
        for (int kill = 0; kill < kills; kill++)
        {
            bool aimsAtCheckpoint = kill % 3 == 1, aimsAtCache = kill % 3 == 2;
            if (aimsAtCache && Directory.Exists(cache))
                Directory.Delete(cache, recursive: true);
            using var job = SecondProcess.Start(Program, Arguments(clips, "killed", steps, every));
            job.BeginOutputReadLine();
            job.BeginErrorReadLine();
            if (!aimsAtCache)
                job.WaitForExit(aimsAtCheckpoint ? start + work * (2 * random.NextDouble() / kills) : (start + work * 2 / kills) * random.NextDouble());
            while (!job.HasExited && ((aimsAtCheckpoint && !HasPassing(checkpoints)) || (aimsAtCache && !HasPassing(cache))))
                Thread.Yield();
            job.Kill();
            job.WaitForExit();
            inCheckpoint += HasPassing(checkpoints) ? 1 : 0;
            inCache += HasPassing(cache) ? 1 : 0;
            Console.WriteLine($"kill {kill + 1} after step {Newest(checkpoints)}");
        }
        Console.WriteLine($"{inCheckpoint} kills left half a checkpoint, {inCache} half an entry of the cache.");
        Finish(clips, "killed", steps, every);

        string Last(string run, string file) => _files.PathOf(run, "checkpoints", $"step-{steps:D8}", file);
        foreach (string file in new[] { "weights.safetensors", "average.safetensors", "optimizer.safetensors" })
            Assert.IsTrue(File.ReadAllBytes(Last("whole", file)).AsSpan().SequenceEqual(File.ReadAllBytes(Last("killed", file))), file);
        string Measured(string run, string what) => JsonNode.Parse(File.ReadAllText(Last(run, "progress.json")))![what]!.ToJsonString();
        foreach (string what in new[] { "Losses", "HeldOut" })
            Assert.AreEqual(Measured("whole", what), Measured("killed", what));
        Assert.IsFalse(HasPassing(checkpoints));
    }

    /// <summary>Whether something is being written there, or was when the process ended.</summary>
    private static bool HasPassing(string folder)
        => Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder, ".*.tmp").Any();

    private static string Newest(string checkpoints)
        => !Directory.Exists(checkpoints) ? "0" : Directory.EnumerateDirectories(checkpoints, "step-0*").Select(path => Path.GetFileName(path)[5..]).Order().LastOrDefault("0");

    /// <summary>Runs to the end; gives the time to the first step and from there.</summary>
    private (TimeSpan Start, TimeSpan Work) Finish(string clips, string run, int steps, int every)
    {
        var clock = Stopwatch.StartNew();
        using var job = SecondProcess.Start(Program, Arguments(clips, run, steps, every));
        var error = job.StandardError.ReadToEndAsync();
        while (job.StandardOutput.ReadLine() is { } line && !line.StartsWith("step ", StringComparison.Ordinal))
            continue;
        TimeSpan start = clock.Elapsed;
        job.StandardOutput.ReadToEnd();
        job.WaitForExit();
        Assert.AreEqual(0, job.ExitCode, error.Result);
        return (start, clock.Elapsed - start);
    }

    private string[] Arguments(string clips, string run, int steps, int every) =>
    [
        "fit", "--clips", clips, "--frames", "2", "--steps", $"{steps}", "--out", _files.PathOf(run), "--options", _files.PathOf("options.json"),
        "--checkpoints", _files.PathOf(run, "checkpoints"), "--checkpoint-every", $"{every}", "--resume",
        "--cache", _files.PathOf(run, "cache"),
    ];

    private string Clips()
    {
        Directory.CreateDirectory(_files.PathOf("clips"));
        for (int i = 0; i < 4; i++)
        {
            _files.Clock($"clips/{i}.mp4", rate: 10 + i);
            File.WriteAllText(_files.PathOf("clips", $"{i}.txt"), "a clock");
        }
        File.WriteAllText(_files.PathOf("options.json"), """
            {
                "height": 32, "width": 32, "temporalWidthDivisor": 4, "batchSize": 2, "gradientAccumulationSteps": 2, "emaDecay": 0.99, "heldOutFraction": 0.25
            }
            """);
        return _files.PathOf("clips");
    }
}
