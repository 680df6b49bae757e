using System.CommandLine;
using System.Diagnostics;
using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Cli.Benching;

namespace Microsoft.ML.Mobius.Cli;

/// <summary>Tells what generating and a training step cost on this machine.</summary>
internal static class BenchCommand
{
    /// <summary>The hidden command by which a process of its own is made to measure; its argument is the <see cref="Workload"/>.</summary>
    private const string Measure = "measure";

    /// <summary>The beginning of the line that holds the result: libraries may write to standard output, too.</summary>
    private const string Mark = "measured ";

    private const int EndedForWantOfMemory = 137;       // 128 and the number of SIGKILL

    public static ExampleCommand Define(MobiusCommand mobius)
    {
        var model = CommandOptions.Path("--model", "PATH", "A model in any form that generate takes (default: the embedded one)");
        var frames = CommandOptions.Whole("--frames", "Frames per clip (default: as trained)", least: 1);
        var width = CommandOptions.Whole("--width", "Width in pixels (default: as trained)", 1, 16384);
        var height = CommandOptions.Whole("--height", "Height in pixels (default: as trained)", 1, 16384);
        var batch = CommandOptions.Whole("--batch-size", "Clips per batch in training (default: 8)", least: 1);
        var count = CommandOptions.Whole(
            "--count", "Training steps, and denoising steps, to measure, after one that is not (default: 4)", 1, 999);
        var gpu = CommandOptions.Gpu();
        var command = new ExampleCommand("bench", "Tells what generating and a training step cost on this machine.",
            "mobius bench", "mobius bench --model folder --frames 16 --batch-size 2", "mobius bench --model out/model.zip --json")
        {
            model, frames, width, height, batch, count, gpu,
        };
        command.SetAction(parsed =>
        {
            var terminal = mobius.TerminalFor(parsed);
            string? path = parsed.GetValue(model);
            var work = new Workload(Trains: false, path, (int?)parsed.GetValue(frames), (int?)parsed.GetValue(width), (int?)parsed.GetValue(height),
                (int)(parsed.GetValue(batch) ?? 8), (int)(parsed.GetValue(count) ?? 4), (int?)parsed.GetValue(gpu));
            bool trains = path is null || (OpenedModel.FileOf(path) is null && !ModelFile.Is(path));
            if (!trains)
                terminal.Warn($"'{path}' is a saved model, and training starts from others: its training is not measured.");

            var (generating, training) = terminal.Watch("Measuring", meter =>
            {
                meter(0, "generating");
                var first = InOwnProcess(work, terminal.Token);
                meter(trains ? 0.5 : 1, trains ? "training" : "");
                var second = trains ? InOwnProcess(work with { Trains = true }, terminal.Token) : null;
                meter(1, "");
                return (first, second);
            });
            terminal.Show(Result(path, generating, training));
        });
        return command;
    }

    /// <summary>What the process of its own does.</summary>
    public static System.CommandLine.Command DefineMeasure(MobiusCommand mobius, TextWriter output)
    {
        var work = new Argument<string>("WORKLOAD");
        var command = new System.CommandLine.Command(Measure) { Hidden = true };
        command.Arguments.Add(work);
        command.SetAction(parsed =>
        {
            var asked = JsonSerializer.Deserialize<Workload>(parsed.GetValue(work)!)!;
            output.WriteLine(Mark + JsonSerializer.Serialize(asked.Measure(mobius.TerminalFor(parsed))));
        });
        return command;
    }

    private static JsonObject Result(string? path, Measurement generating, Measurement? training)
    {
        var result = new JsonObject
        {
            ["model"] = path ?? "the embedded one", ["processors"] = Environment.ProcessorCount, ["threads"] = generating.Threads,
            ["generating"] = new JsonObject
            {
                ["frames"] = generating.Frames, ["width"] = generating.Width, ["height"] = generating.Height,
                ["denoisingSteps"] = generating.Steps, ["framesPerSecond"] = Round(generating.Frames / generating.Seconds), ["secondsPerVideo"] = Round(generating.Seconds),
                ["secondsPerStep"] = Round(generating.StepSeconds), ["cpuSecondsPerStep"] = Round(generating.StepCpuSeconds),
                ["peakMebibytes"] = generating.PeakBytes >> 20,
            },
        };
        if (training is not null)
            result["training"] = new JsonObject
            {
                ["frames"] = training.Frames, ["width"] = training.Width, ["height"] = training.Height,
                ["batchSize"] = training.BatchSize, ["stepsPerSecond"] = Round(1 / training.StepSeconds), ["secondsPerStep"] = Round(training.StepSeconds),
                ["cpuSecondsPerStep"] = Round(training.StepCpuSeconds), ["peakMebibytes"] = training.PeakBytes >> 20,
                ["estimatedMebibytes"] = training.EstimatedBytes >> 20,
            };
        return result;
    }

    /// <summary>Nothing that came before is in that process's memory, and what it takes is given back when it ends.</summary>
    private static Measurement InOwnProcess(Workload work, CancellationToken token)
    {
        token.ThrowIfCancellationRequested();
        var own = typeof(BenchCommand).Assembly;
        string host = Environment.ProcessPath ?? "dotnet";
        bool isDotnet = Path.GetFileNameWithoutExtension(host) == "dotnet", isProgram = !isDotnet && Assembly.GetEntryAssembly() == own;
        string[] command = isProgram ? [host] : [isDotnet ? host : "dotnet", "exec", own.Location];
        using var process = Process.Start(new ProcessStartInfo(command[0], [.. command[1..], Measure, JsonSerializer.Serialize(work)])
        {
            RedirectStandardOutput = true, RedirectStandardError = true,
        })!;
        using var end = token.Register(() => process.Kill(entireProcessTree: true));
        var error = process.StandardError.ReadToEndAsync(CancellationToken.None);
        string? result = null;
        while (process.StandardOutput.ReadLine() is { } line)
            if (line.StartsWith(Mark, StringComparison.Ordinal))
                result = line[Mark.Length..];
        process.WaitForExit();
        token.ThrowIfCancellationRequested();
        if (process.ExitCode == 0 && result is not null)
            return JsonSerializer.Deserialize<Measurement>(result)!;
        string why = process.ExitCode == EndedForWantOfMemory ? "the system ended its process, as a rule for want of memory"
            : error.Result.Trim().Split('\n')[^1].Replace("mobius: ", "", StringComparison.Ordinal);
        throw new InvalidOperationException($"{(work.Trains ? "Training" : "Generating")} could not be measured: {why}");
    }

    private static double Round(double value) => Math.Round(value, 4);
}
