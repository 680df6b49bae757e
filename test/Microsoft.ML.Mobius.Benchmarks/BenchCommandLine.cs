using System.CommandLine;

namespace Microsoft.ML.Mobius.Benchmarks;

using Command = System.CommandLine.Command;       // here, for Microsoft.ML.Command is a namespace

/// <summary>The commands and their options.</summary>
internal static class BenchCommandLine
{
    private const int Failed = 1, BadCommandLine = 2;

    /// <summary>Parses, says what is wrong or runs the command.</summary>
    /// <returns>The exit code: 0, 1 if something could not be measured, 2 if the command line is wrong.</returns>
    public static int Run(string[] args, CancellationToken interrupt)
    {
        Arm[] main = [Arm.Named(Arm.Baseline), Arm.Named(Arm.Default)];
        var root = new RootCommand("Measures what training and generating cost.")
        {
            Bench("training", "The cost of a training step, arm by arm", Arm.All, arm => arm.Name, Arm.All, "steps of every arm", 5, 3,
                (sizes, arms, steps, folder, onGpu) => TrainingBench.Run(sizes, arms, steps, onGpu, folder, interrupt), choosesDevice: true),
            Bench("growth", "The cost of a training step against frames, batch and width", Arm.All, arm => arm.Name, main, "steps at every point", 3, 1,
                (sizes, arms, steps, folder, _) => GrowthBench.Run(sizes[0], arms, steps, folder, interrupt), oneSize: true),
            Bench("sampling", "The cost of generating a video", Way.All, way => way.Name, Way.All, "videos of every arm", 3, 1,
                (sizes, ways, videos, folder, _) => SamplingBench.Run(sizes, ways, videos, folder, interrupt)),
            Profile(interrupt),
            Reference(interrupt),
            Scaling(interrupt),
            Reduce(),
            Plots(),
            Curves(),
            Quality(interrupt),
            Measure(),
            Learn(),
        };
        var parsed = root.Parse(args);
        if (parsed.Errors.Count == 0)
            return parsed.Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false });

        foreach (var error in parsed.Errors)
            Console.Error.WriteLine(error.Message);
        if (parsed.CommandResult.Command is RootCommand)
            Console.Error.WriteLine($"Commands: {string.Join(", ", root.Subcommands.Where(command => !command.Hidden).Select(command => command.Name))}.");
        else
            Console.Error.WriteLine($"Options: {string.Join(", ", parsed.CommandResult.Command.Options.Select(option => option.Name))}.");
        return BadCommandLine;
    }

    /// <param name="name">Of the command.</param>
    /// <param name="description">Of the command.</param>
    /// <param name="all">The arms.</param>
    /// <param name="nameOf">Of an arm.</param>
    /// <param name="usual">Those measured, unless others are asked for.</param>
    /// <param name="counted">What is repeated.</param>
    /// <param name="count">How often.</param>
    /// <param name="quickCount">How often if it is to be quick.</param>
    /// <param name="run">Takes sizes, arms, count, folder and whether a GPU computes; gives whether everything could be measured.</param>
    /// <param name="oneSize">Whether only one size can be asked for.</param>
    /// <param name="choosesDevice">Whether a GPU can be asked for.</param>
    private static Command Bench<T>(
        string name, string description, IReadOnlyList<T> all, Func<T, string> nameOf, IReadOnlyList<T> usual, string counted, int count, int quickCount,
        Func<IReadOnlyList<ModelSize>, IReadOnlyList<T>, int, string, bool, bool> run, bool oneSize = false, bool choosesDevice = false)
    {
        var sizes = List("--size", ModelSize.All, size => size.Name, [ModelSize.All[0]], oneSize);
        var arms = List("--arms", all, nameOf, usual);
        var quick = new Option<bool>("--quick") { Description = $"{quickCount} {counted} instead of {count}" };
        var output = Output();
        var device = List("--device", ["cpu", "cuda"], text => text, ["cpu"], one: true);
        var command = new Command(name, description) { sizes, quick, arms, output };
        if (choosesDevice)
            command.Add(device);
        command.SetAction(parsed => run(parsed.GetValue(sizes) ?? [ModelSize.All[0]], parsed.GetValue(arms) ?? usual, parsed.GetValue(quick) ? quickCount : count,
            parsed.GetRequiredValue(output), choosesDevice && parsed.GetValue(device) is ["cuda"]) ? 0 : Failed);
        return command;
    }

    private static Command Profile(CancellationToken interrupt)
    {
        var arm = List("--arm", Arm.All, arm => arm.Name, [Arm.Named(Arm.Default)], one: true);
        var size = List("--size", ModelSize.All, size => size.Name, [ModelSize.All[0]], one: true);
        var output = Output();
        var command = new Command("profile", "Where the time of a training step goes") { arm, size, output };
        command.SetAction(parsed => ProfileBench.Run(parsed.GetValue(size)?[0] ?? ModelSize.All[0], parsed.GetValue(arm)?[0] ?? Arm.Named(Arm.Default),
            steps: 2, parsed.GetRequiredValue(output), interrupt) ? 0 : Failed);
        return command;
    }

    private static Command Reference(CancellationToken interrupt)
    {
        var quick = new Option<bool>("--quick") { Description = "3 steps of every network instead of 5" };
        var pytorch = new Option<string?>("--pytorch") { Description = "What the cases took in PyTorch on this machine: a JSON file, see build/bench.sh" };
        var output = Output();
        var command = new Command("reference", "Steps with the settings of the PyTorch implementations, and beside them") { quick, pytorch, output };
        command.SetAction(parsed => ReferenceBench.Run(parsed.GetValue(quick) ? 3 : 5, parsed.GetValue(pytorch), parsed.GetRequiredValue(output), interrupt) ? 0 : Failed);
        return command;
    }

    private static Command Scaling(CancellationToken interrupt)
    {
        var quick = new Option<bool>("--quick") { Description = "2 steps of every run instead of 8" };
        var seconds = new Option<double>("--step-seconds") { Description = "Seconds that a step takes on one device, for the curve on paper", DefaultValueFactory = _ => 1 };
        var output = Output();
        var command = new Command("scaling", "What several processes cost, and on paper up to 1,024 devices") { quick, seconds, output };
        command.SetAction(parsed => ScalingBench.Run(parsed.GetValue(quick) ? 2 : 8, parsed.GetValue(seconds), parsed.GetRequiredValue(output), interrupt) ? 0 : Failed);
        return command;
    }

    private static Command Reduce()
    {
        var reduction = new Argument<string>("reduction");
        var file = new Argument<string?>("file") { Arity = ArgumentArity.ZeroOrOne };
        var command = new Command(ScalingBench.Command) { reduction, file };
        command.Hidden = true;
        command.SetAction(parsed => ScalingBench.Answer(parsed.GetRequiredValue(reduction), parsed.GetValue(file)));
        return command;
    }

    private static Command Plots()
    {
        var reports = new Option<string>("--reports") { Description = "Folder with training.json, growth.json and the like, with or without something before and after the name", Required = true };
        var output = new Option<string>("--out") { Description = "Folder for the plots", Required = true };
        var command = new Command("plots", "Draws training.png and growth.png from the newest results in a folder") { reports, output };
        command.SetAction(parsed => ReportPlots.Draw(parsed.GetRequiredValue(reports), parsed.GetRequiredValue(output)));
        return command;
    }

    private static Command Curves()
    {
        var logs = new Option<string>("--logs") { Description = "Folder of a training's files for TensorBoard", Required = true };
        var output = new Option<string>("--out") { Description = "The picture, a PNG file", Required = true };
        var command = new Command("curves", "Draws how a training went") { logs, output };
        command.SetAction(parsed => CurvesPlot.Write(parsed.GetRequiredValue(logs), parsed.GetRequiredValue(output)));
        return command;
    }

    private static Command Quality(CancellationToken interrupt)
    {
        string[] names = [.. QualityBench.Arms.Select(arm => arm.Name)];
        var clips = new Option<string?>("--clips") { Description = "Folder of captioned clips (default: the moving shapes, drawn)" };
        var arms = List("--arms", names, name => name, [.. names.Take(3)]);
        var seeds = new Option<string>("--seeds") { Description = "Numbers, with commas between", DefaultValueFactory = _ => "0,1,2" };
        var steps = new Option<int>("--steps") { Description = "Of every run", DefaultValueFactory = _ => 400 };
        seeds.Validators.Add(result =>
        {
            if (result.Tokens.Count > 0 && !result.Tokens[0].Value.Split(',').All(seed => int.TryParse(seed, out int number) && number >= 0))
                result.AddError($"--seeds is '{result.Tokens[0].Value}': expected numbers from 0 on, with commas between.");
        });
        steps.Validators.Add(result =>
        {
            if (result.Tokens.Count > 0 && !(int.TryParse(result.Tokens[0].Value, out int number) && number >= 2))
                result.AddError($"--steps is '{result.Tokens[0].Value}': at least 2 are needed.");
        });
        var output = Output();
        var command = new Command("quality", "What training reaches, by arm and seed, and at what cost") { clips, arms, seeds, steps, output };
        command.SetAction(parsed => QualityBench.Run(parsed.GetValue(clips), parsed.GetValue(arms) ?? [.. names.Take(3)],
            [.. parsed.GetRequiredValue(seeds).Split(',').Select(int.Parse)], parsed.GetRequiredValue(steps), parsed.GetRequiredValue(output), interrupt) ? 0 : Failed);
        return command;
    }

    private static Command Learn()
    {
        var lesson = new Argument<string>("lesson");
        var command = new Command(QualityBench.Command) { lesson };
        command.Hidden = true;
        command.SetAction(parsed => QualityBench.Answer(parsed.GetRequiredValue(lesson)));
        return command;
    }

    private static Command Measure()
    {
        var workload = new Argument<string>("workload");
        var command = new Command(OwnProcess.Command) { workload };
        command.Hidden = true;
        command.SetAction(parsed => OwnProcess.Answer(parsed.GetRequiredValue(workload)));
        return command;
    }

    private static Option<string> Output() => new("--out") { Description = "Folder for the results", DefaultValueFactory = _ => "out/bench" };

    /// <summary>An option with names from a list; without it its value is null.</summary>
    private static Option<IReadOnlyList<T>?> List<T>(string name, IReadOnlyList<T> all, Func<T, string> nameOf, IReadOnlyList<T> usual, bool one = false)
        => new(name)
        {
            Description = $"{(one ? "One" : "Some")} of {Names(all, nameOf)}{(one ? "" : ", with commas between")} (default: {string.Join(',', usual.Select(nameOf))})",
            CustomParser = argument =>
            {
                string[] texts = argument.Tokens[0].Value.Split(',');
                if (one && texts.Length > 1)
                    argument.AddError($"{name} is '{argument.Tokens[0].Value}': expected one of {Names(all, nameOf)}.");
                foreach (string text in texts.Where(text => all.All(known => nameOf(known) != text)))
                    argument.AddError($"{name} has '{text}': expected {(one ? "one" : "some")} of {Names(all, nameOf)}.");
                return [.. all.Where(known => texts.Contains(nameOf(known)))];
            },
        };

    private static string Names<T>(IReadOnlyList<T> all, Func<T, string> nameOf) => string.Join(", ", all.Select(nameOf));
}
