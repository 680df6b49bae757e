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
    public void Fit_KilledTwentyTimes_EndsAsTheUninterruptedRunBitForBit() => KillAndResume(kills: 20, steps: 200, every: 2);

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

    private void KillAndResume(int kills, int steps, int every)
    {
        string clips = Clips();
        var clock = Stopwatch.StartNew();
        Finish(clips, "whole", steps, every);
        TimeSpan longest = clock.Elapsed * 2 / kills;
        var random = new Random(steps);
        for (int kill = 0; kill < kills; kill++)
        {
            using var job = SecondProcess.Start(Program, Arguments(clips, "killed", steps, every));
            job.BeginOutputReadLine();
            job.BeginErrorReadLine();
            job.WaitForExit(longest * random.NextDouble());
            while (kill % 2 == 1 && !job.HasExited && !IsSaving())
                Thread.Sleep(1);
            job.Kill();
            job.WaitForExit();
        }
        Finish(clips, "killed", steps, every);

        string Last(string run, string file) => _files.PathOf(run, "checkpoints", $"step-{steps:D8}", file);
        foreach (string file in new[] { "weights.safetensors", "optimizer.safetensors" })
            Assert.IsTrue(File.ReadAllBytes(Last("whole", file)).AsSpan().SequenceEqual(File.ReadAllBytes(Last("killed", file))), file);
        string Measured(string run, string what) => JsonNode.Parse(File.ReadAllText(Last(run, "progress.json")))![what]!.ToJsonString();
        foreach (string what in new[] { "Losses", "HeldOut" })
            Assert.AreEqual(Measured("whole", what), Measured("killed", what));
    }

    private bool IsSaving()
    {
        string folder = _files.PathOf("killed", "checkpoints");
        return Directory.Exists(folder) && Directory.EnumerateDirectories(folder, ".step-0*").Any();
    }

    private void Finish(string clips, string run, int steps, int every)
    {
        var (exitCode, _, error) = SecondProcess.Run(Program, Arguments(clips, run, steps, every));
        Assert.AreEqual(0, exitCode, error);
    }

    private string[] Arguments(string clips, string run, int steps, int every) =>
    [
        "fit", "--clips", clips, "--frames", "2", "--steps", $"{steps}", "--out", _files.PathOf(run),
        "--checkpoints", _files.PathOf(run, "checkpoints"), "--checkpoint-every", $"{every}", "--resume",
        "--cache", _files.PathOf(run, "cache"),
    ];

    private string Clips()
    {
        Directory.CreateDirectory(_files.PathOf("clips"));
        for (int i = 0; i < 3; i++)
        {
            _files.Clock($"clips/{i}.mp4");
            File.WriteAllText(_files.PathOf("clips", $"{i}.txt"), "a clock");
        }
        return _files.PathOf("clips");
    }
}
