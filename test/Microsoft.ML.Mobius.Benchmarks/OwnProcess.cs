using System.Diagnostics;
using System.Text.Json;
using Microsoft.ML.Mobius.Distributed;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>Has a measurement made by a process of its own, which ends with it: nothing that came before is in its memory.</summary>
internal static class OwnProcess
{
    /// <summary>The command, hidden from users, by which this program is started again; its argument is the <see cref="Workload"/>.</summary>
    public const string Command = "measure";

    /// <summary>The first line of the result on the other process's output: libraries may write there, too.</summary>
    public const string Mark = "measured ";

    /// <exception cref="MeasurementFailedException">The process ended without a result, for want of memory, say.</exception>
    /// <exception cref="OperationCanceledException">Cancelled; the process is ended.</exception>
    public static Measurement Measure(Workload work, CancellationToken interrupt) => Ask<Measurement>(Command, JsonSerializer.Serialize(work), Mark, interrupt);

    /// <summary>What a command of this program, in another process, answers.</summary>
    /// <param name="command">The command.</param>
    /// <param name="argument">Its argument.</param>
    /// <param name="mark">What the line begins with that is the answer.</param>
    /// <param name="interrupt">Ends the process.</param>
    /// <param name="launcher">The command line that starts it, as mpirun's; null starts it as it is.</param>
    /// <exception cref="MeasurementFailedException">The process ended without an answer, for want of memory, say.</exception>
    /// <exception cref="OperationCanceledException">Cancelled; the process is ended.</exception>
    public static T Ask<T>(string command, string argument, string mark, CancellationToken interrupt, IReadOnlyList<string>? launcher = null)
    {
        interrupt.ThrowIfCancellationRequested();
        string dotnet = Environment.ProcessPath is { } host && Path.GetFileNameWithoutExtension(host) == "dotnet" ? host : "dotnet";
        string[] line = [.. launcher ?? [], dotnet, "exec", typeof(OwnProcess).Assembly.Location, command, argument];
        using var process = Process.Start(new ProcessStartInfo(line[0], line[1..]) { RedirectStandardOutput = true })!;
        using var end = interrupt.Register(() => process.Kill(entireProcessTree: true));
        string? result = null;
        while (process.StandardOutput.ReadLine() is { } said)
            if (said.IndexOf(mark, StringComparison.Ordinal) is >= 0 and var at)          // a terminal's control codes may stand before it
                result = said[(at + mark.Length)..];
        process.WaitForExit();
        interrupt.ThrowIfCancellationRequested();
        if (process.ExitCode != 0 || result is null)
            throw new MeasurementFailedException(process.ExitCode == 137 ? "the system ended its process, for want of memory as a rule" : $"exit code {process.ExitCode}");
        return JsonSerializer.Deserialize<T>(result)!;
    }

    /// <summary>What the other process does.</summary>
    public static int Answer(string workload)
    {
        string measured = JsonSerializer.Serialize(Measuring.Run(JsonSerializer.Deserialize<Workload>(workload)!));
        if (ProcessGroup.IsStartedFirst)
            Console.WriteLine(Mark + measured);
        return 0;
    }
}

/// <summary>A process did not give the measurement that it was started for.</summary>
internal sealed class MeasurementFailedException(string message) : Exception(message);
