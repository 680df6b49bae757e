using Microsoft.ML.Mobius.Samples.Shapes;
using Microsoft.ML.Mobius.Shapes;

const string usage = """
    Draws small clips with captions to fine-tune on, and prompts to evaluate with; tells whether videos show what their captions say.

      dotnet run --project samples/Shapes -- --out FOLDER [--count 600] [--combinations trained] [--seed 0]
      dotnet run --project samples/Shapes -- --prompts FILE [--prompt-count 48] [--seed 0]
      dotnet run --project samples/Shapes -- --measure PATH [--joins 4]

      --out FOLDER        writes 0000.mp4, ... and captions.jsonl
      --count N           number of clips; default 600
      --combinations NAME what they show: trained (default), never-trained or all; the two last are to evaluate on
      --prompts FILE      writes one prompt per line, half of them combinations that no clip shows
      --prompt-count N    number of prompts; default 48
      --measure PATH      tells of videos whether they show what their captions say, whether they are loops, and whether their objects move on;
                          PATH is a folder with captions.jsonl, as 'mobius evaluate' writes it, or a file with what 'mobius generate --json' printed
      --joins N           counts moving on across every N-th frame alone; default 1, every frame
      --seed N            default 0
    """;

string? folder = null, prompts = null, measured = null;
int count = 600, promptCount = 48, seed = 0, joins = 1;
var combinations = ShapeSpec.Trained;
try
{
    for (int i = 0; i < args.Length; i += 2)
    {
        string value = i + 1 < args.Length ? args[i + 1] : throw new ArgumentException($"'{args[i]}' needs a value.");
        switch (args[i])
        {
            case "--out": folder = value; break;
            case "--prompts": prompts = value; break;
            case "--count": count = Number(args[i], value, least: 1); break;
            case "--combinations": combinations = Combinations(value); break;
            case "--measure": measured = value; break;
            case "--joins": joins = Number(args[i], value, least: 1); break;
            case "--prompt-count": promptCount = Number(args[i], value, least: 1); break;
            case "--seed": seed = Number(args[i], value, least: 0); break;
            default: throw new ArgumentException($"'{args[i]}' is not an option.");
        }
    }
    if (folder is null && prompts is null && measured is null)
        throw new ArgumentException("Give --out, --prompts or --measure.");
}
catch (ArgumentException e)
{
    Console.Error.WriteLine($"{e.Message}\n\n{usage}");
    return 2;
}

try
{
    if (folder is not null)
    {
        ClipFolder.Write(folder, count, seed, combinations);
        Console.WriteLine($"{count} clips in {folder}");
    }
    if (prompts is not null)
    {
        ClipFolder.WriteLines(prompts, PromptSet.Choose(new Random(seed), promptCount).Select(c => c.Caption));
        Console.WriteLine($"{promptCount} prompts in {prompts}");
    }
    if (measured is not null)
        Console.WriteLine(MeasuredVideos.Read(measured).Report(joins));
    return 0;
}
catch (Exception e) when (e is IOException or InvalidDataException or ArgumentException or UnauthorizedAccessException or InvalidOperationException or AggregateException)
{
    Console.Error.WriteLine((e is AggregateException several ? several.InnerExceptions[0] : e).Message);
    return 1;
}

static int Number(string option, string value, int least) =>
    int.TryParse(value, out int number) && number >= least ? number : throw new ArgumentException($"{option} must be a whole number of at least {least}, not '{value}'.");

static IReadOnlyList<ShapeCombination> Combinations(string name) => name switch
{
    "trained" => ShapeSpec.Trained,
    "never-trained" => ShapeSpec.NeverTrained,
    "all" => ShapeSpec.All,
    _ => throw new ArgumentException($"--combinations must be trained, never-trained or all, not '{name}'."),
};
