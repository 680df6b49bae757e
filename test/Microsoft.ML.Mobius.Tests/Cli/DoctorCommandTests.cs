namespace Microsoft.ML.Mobius.Tests.Cli;

[TestClass]
public sealed class DoctorCommandTests
{
    [TestMethod]
    public void Run_HealthyMachine_FindsAllAndEndsWith0()
    {
        var run = CommandRun.Of("doctor", "--json").Succeeded();
        Assert.IsTrue(run.Json["healthy"]!.GetValue<bool>());
        CollectionAssert.AreEqual(new[] { "ffmpeg", "encoders", "library", "oneDNN", "gpu", "memory", "disk" },
            run.Json["checks"]!.AsArray().Select(check => $"{check!["name"]}").ToArray());
        Assert.Contains("version ", $"{run.Json["checks"]![0]!["found"]}");
        Assert.Contains("ok", CommandRun.Of("doctor").Succeeded().Output);
    }

    [TestMethod]
    public void Run_NoFfmpeg_SaysHowToInstallItAndEndsWith1()
    {
        using var empty = new TempFolder();
        var (exitCode, output, error) = SecondProcess.Run("Microsoft.ML.Mobius.Cli.dll", ["doctor"], ("PATH", empty.Path));
        Assert.AreEqual(1, exitCode, error);
        Assert.Contains("FAIL  ffmpeg", output);
        Assert.Contains("apt-get install ffmpeg", output);
    }
}
