namespace Microsoft.ML.Mobius.Tests.Cli;

[TestClass]
public sealed class MobiusCommandTests
{
    private static readonly string[] s_commands = ["train", "generate", "evaluate", "inspect", "convert", "bench", "doctor"];

    [TestMethod]
    public void Run_Nothing_TellsTheCommands()
    {
        string output = CommandRun.Of().Succeeded().Output;
        foreach (string command in s_commands)
            Assert.Contains($"  {command}", output);
        Assert.Contains("Examples:", output);
        Assert.DoesNotContain("measure ", output);
    }

    [TestMethod]
    public void Help_OfEveryCommand_EndsInExamplesOfOptionsThatThereAre()
    {
        foreach (string command in s_commands)
        {
            string output = CommandRun.Of(command, "--help").Succeeded().Output;
            string[] parts = output.Split("Examples:");
            Assert.HasCount(2, parts, command);
            Assert.Contains($"mobius {command}", parts[1]);
            foreach (string option in parts[1].Split((char[]?)null).Where(word => word.StartsWith("--", StringComparison.Ordinal)))
                Assert.Contains($"  {option}", parts[0], command);
        }
    }

    [TestMethod]
    public void Run_UnknownOption_IsNamedInOneLine()
        => CommandRun.Of("generate", "--stpes", "4").AssertFailed(2, "mobius: ", "'--stpes'", "mobius generate --help");

    [TestMethod]
    public void Run_OptionMissing_IsNamedInOneLine() => CommandRun.Of("evaluate", "--clips", "clips").AssertFailed(2, "--model", "required");

    [TestMethod]
    [DataRow("--steps", "none", "from 1 to 1000")]
    [DataRow("--guidance", "500", "from 0 to 100")]
    [DataRow("--sampler", "fast", "uni-pc")]
    [DataRow("--format", "avi", "webp")]
    public void Run_ValueThatCannotBe_TellsWhatCan(string option, string value, string expected)
        => CommandRun.Of("generate", "--model", "m", "--prompt", "a", option, value).AssertFailed(2, option, $"'{value}'", expected);

    [TestMethod]
    public void Run_NothingThere_IsOneLineAndOnlyVerboselyAStackTrace()
    {
        CommandRun.Of("inspect", "nothing-there").AssertFailed(1, "'nothing-there' does not exist");
        var verbose = CommandRun.Of("inspect", "nothing-there", "--verbose");
        Assert.AreEqual(1, verbose.ExitCode);
        Assert.Contains("   at Microsoft.ML.Mobius.Cli.InspectCommand", verbose.Error);
    }
}
