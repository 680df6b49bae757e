using System.Diagnostics;
using System.Text;
using Microsoft.ML.Mobius.Distributed;

namespace Microsoft.ML.Mobius.Tests;

/// <summary>The program of several ranks, or of one process, that lies beside the tests.</summary>
internal sealed class Ranks : IDisposable
{
    private const string Program = "Microsoft.ML.Mobius.Ranks.dll";

    private readonly Process _job;
    private readonly StringBuilder _output = new(), _error = new();

    private Ranks(Process job)
    {
        _job = job;
        job.OutputDataReceived += (_, e) => Add(_output, e.Data);
        job.ErrorDataReceived += (_, e) => Add(_error, e.Data);
        job.BeginOutputReadLine();
        job.BeginErrorReadLine();
    }

    public int ExitCode => _job.ExitCode;

    public string Output => Text(_output);

    public string Error => Text(_error);

    /// <param name="count">1 starts the program without mpirun.</param>
    /// <param name="timeout">Seconds after which a rank that is waited for counts as lost.</param>
    /// <param name="arguments">Its command line.</param>
    public static Ranks Start(int count, int timeout, params IEnumerable<string> arguments)
    {
        if (count > 1 && !(Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Any(folder => File.Exists(Path.Combine(folder, "mpirun"))))
            Assert.Inconclusive("There is no mpirun: Debian's and Ubuntu's package of it is openmpi-bin.");
        string dotnet = Environment.ProcessPath is { } host && Path.GetFileNameWithoutExtension(host) == "dotnet" ? host : "dotnet";
        string[] program = [dotnet, "exec", Path.Combine(AppContext.BaseDirectory, Program), .. arguments];
        if (count > 1)
            program = ["mpirun", "-n", $"{count}", "--oversubscribe", "--bind-to", "none", .. program];
        var start = new ProcessStartInfo(program[0], program[1..]) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var (name, value) in new[]
        {
            ("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"), ("OMP_NUM_THREADS", "1"), ("OMP_WAIT_POLICY", "PASSIVE"),
            (ProcessGroup.TimeoutVariable, $"{timeout}"),
        })
            start.Environment[name] = value;
        return new Ranks(Process.Start(start)!);
    }

    /// <summary>Runs to the end.</summary>
    public static Ranks Run(int count, params IEnumerable<string> arguments)
    {
        var ranks = Start(count, timeout: 120, arguments);
        ranks.Wait();
        return ranks;
    }

    public Ranks Succeeded()
    {
        Assert.AreEqual(0, ExitCode, Error + Output);
        return this;
    }

    /// <summary>Waits till it has said something.</summary>
    public void WaitFor(string said)
    {
        while (!Output.Contains(said, StringComparison.Ordinal) && !_job.HasExited)
            Thread.Sleep(5);
        Assert.Contains(said, Output, Error);
    }

    public void Wait(double seconds = 120) => Assert.IsTrue(_job.WaitForExit(TimeSpan.FromSeconds(seconds)) && Drained(), $"It has not ended in {seconds} s.\n{Output}\n{Error}");

    /// <summary>The process of a rank, which has told it.</summary>
    public int ProcessOf(int rank)
    {
        WaitFor($"rank {rank} is process ");
        return int.Parse(Lines($"rank {rank} is process ").Single().Split(',')[0]);
    }

    /// <summary>What follows a text in the lines that have it; a terminal's control codes may stand before it.</summary>
    public string[] Lines(string start) => [.. from line in Output.Split('\n') let at = line.IndexOf(start, StringComparison.Ordinal) where at >= 0 select line[(at + start.Length)..].TrimEnd()];

    /// <summary>Sends a signal.</summary>
    public static void Signal(string name, int process)
    {
        using var kill = Process.Start("kill", [$"-{name}", $"{process}"]);
        kill.WaitForExit();
    }

    public void Dispose()
    {
        if (!_job.HasExited)
            _job.Kill(entireProcessTree: true);
        _job.Dispose();
    }

    private bool Drained()
    {
        _job.WaitForExit();
        return true;
    }

    private static void Add(StringBuilder text, string? line)
    {
        lock (text)
            text.Append(line).Append('\n');
    }

    private static string Text(StringBuilder text)
    {
        lock (text)
            return text.ToString();
    }
}
