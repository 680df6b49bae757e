using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.ML.Mobius.UNet;

namespace Microsoft.ML.Mobius.Samples.MainJob;

using Command = System.CommandLine.Command;       // here, for Microsoft.ML.Command is a namespace

/// <summary>The commands and their options; all take the same ones, so that one command line serves all.</summary>
internal static partial class JobCommandLine
{
    private const int BadCommandLine = 2;

    /// <summary>Parses, says what is wrong or runs the command.</summary>
    /// <returns>The exit code: 2 if the command line is wrong.</returns>
    public static int Run(string[] args, Action<JobSettings> fit, Action<JobSettings> generate, Action<JobSettings> draw, Action<JobSettings> both)
    {
        var root = new RootCommand("Fine-tunes a text-to-video model on captioned clips, then generates videos with it.")
        {
            JobCommand("fit", "Fine-tunes on the clips and saves the model.", fit),
            JobCommand("generate", "Loads the saved model and generates one video per prompt.", generate),
            JobCommand("draw", "Draws the clips that are learnt where there are no others.", draw),
            JobCommand("all", "Fits and generates in one process: for several ranks, which mpirun lets start but once.", both),
        };
        var parsed = root.Parse(args);
        if (parsed.Errors.Count == 0)
            return parsed.Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false });

        foreach (var error in parsed.Errors)
            Console.Error.WriteLine(error.Message);
        Console.Error.WriteLine($"Options: {string.Join(", ", parsed.CommandResult.Command.Options.Select(option => option.Name))}.");
        return BadCommandLine;
    }

    private static Command JobCommand(string name, string description, Action<JobSettings> run)
    {
        var layouts = Enum.GetValues<UNetLayout>().ToDictionary(CommandLineName);
        var clips = new Option<string?>("--clips")
        {
            Description = "Folder of clips with captions.jsonl, a .csv file or same-named .txt files (default: drawn shapes)",
        };
        var prompts = new Option<string?>("--prompts")
        {
            Description = "File with one prompt per line (default: chosen to fit the clips)",
        };
        var model = new Option<string?>("--model")
        {
            Description = "Pretrained model to start from: a diffusers folder, or a file with a Stable Diffusion 1.x (default: the library's own)",
        };
        var layout = new Option<UNetLayout?>("--layout")
        {
            Description = $"How temporal layers join: {string.Join(" or ", layouts.Keys)} (default: as the model has it, of an image model stream-parallel)",
            CustomParser = argument => Layout(argument, layouts),
        };
        var steps = Number("--steps", "Training steps (default: the trainer's)", least: 1);
        var frames = Number("--frames", "Frames per video (default: as the model has it, otherwise 8)", least: 2);
        var seed = Number("--seed", "Seed of clips, prompts, training and generation (default: that of --options, otherwise 0)", least: 0);
        var checkpoints = new Option<string?>("--checkpoints") { Description = "Folder for checkpoints of the training (default: none are kept)" };
        var checkpointEvery = Number("--checkpoint-every", "Steps between two checkpoints (default: the trainer's)", least: 1);
        var resume = new Option<bool>("--resume") { Description = "Go on from the newest checkpoint in the folder of --checkpoints" };
        var options = new Option<string?>("--options") { Description = "JSON file of the trainer's options, which the command line overrides (default: none)" };
        var cache = new Option<string?>("--cache") { Description = "Folder that the clips' latents are kept in for the next time (default: none)" };
        var output = new Option<string>("--out") { Description = "Folder for everything that is written", DefaultValueFactory = _ => "out" };

        var command = new Command(name, description) { prompts, clips, model, layout, steps, frames, seed, checkpoints, checkpointEvery, resume, options, cache, output };
        command.Validators.Add(parsed =>
        {
            foreach (Option option in new Option[] { checkpointEvery, resume })
            {
                if (parsed.GetResult(option) is { Implicit: false } && parsed.GetValue(checkpoints) is null && parsed.GetValue(options) is null)
                    parsed.AddError($"{option.Name} needs the folder of --checkpoints.");
            }
        });
        command.SetAction(parsed => run(new JobSettings(
            parsed.GetRequiredValue(output), parsed.GetValue(clips), parsed.GetValue(prompts), parsed.GetValue(model), parsed.GetValue(layout),
            parsed.GetValue(steps), parsed.GetValue(frames), parsed.GetValue(seed),
            parsed.GetValue(checkpoints), parsed.GetValue(checkpointEvery), parsed.GetValue(resume), parsed.GetValue(options), parsed.GetValue(cache))));
        return command;
    }

    private static Option<int?> Number(string name, string description, int least) => new(name)
    {
        Description = description,
        CustomParser = argument =>
        {
            string text = argument.Tokens[0].Value;
            if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number >= least)
                return number;
            argument.AddError($"{name} is '{text}': expected a whole number from {least} to {int.MaxValue}.");
            return null;
        },
    };

    private static UNetLayout? Layout(ArgumentResult argument, Dictionary<string, UNetLayout> layouts)
    {
        string text = argument.Tokens[0].Value;
        foreach (var (name, layout) in layouts)
        {
            if (text.Equals(name, StringComparison.OrdinalIgnoreCase) || text.Equals(layout.ToString(), StringComparison.OrdinalIgnoreCase))
                return layout;
        }
        argument.AddError($"--layout is '{text}': expected {string.Join(" or ", layouts.Keys)}.");
        return null;
    }

    // StreamParallel becomes stream-parallel.
    private static string CommandLineName(UNetLayout layout) => WordStart().Replace(layout.ToString(), "-$0").ToLowerInvariant();

    [GeneratedRegex("(?<=[a-z])[A-Z]")]
    private static partial Regex WordStart();
}
