using System.CommandLine;
using System.Diagnostics;
using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Distributed;
using Microsoft.ML.Mobius.Files;
using Microsoft.ML.Mobius.Sampling;
using Microsoft.ML.Mobius.Torch;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Cli;

/// <summary>What videos are written as.</summary>
internal enum OutputFormat
{
    Mp4,
    Gif,
    Webp,
    Png,
    Frames,
}

/// <summary>Generates videos from prompts.</summary>
internal static class GenerateCommand
{
    private const int RowsOnSheet = 24;
    private const string SheetFile = "contact-sheet.png";

    public static ExampleCommand Define(MobiusCommand mobius)
    {
        var model = CommandOptions.Path("--model", "PATH", "A .zip, a diffusers folder, a folder that training wrote, or a Stable Diffusion 1.x file", required: true);
        var prompt = new Option<string[]>("--prompt") { Description = "What to show; may be given several times", HelpName = "TEXT" };
        var prompts = CommandOptions.Path("--prompts", "FILE", "A file with one prompt per line; empty lines are left out");
        var output = CommandOptions.Path("--out", "FOLDER", "Folder for the videos (default: videos)");
        var seed = CommandOptions.Whole("--seed", "Seed of the first video of each prompt (default: the model's)", long.MinValue, long.MaxValue);
        var perPrompt = CommandOptions.Whole("--videos-per-prompt", "Videos per prompt, of one seed after the other (default: 1)", least: 1);
        var steps = CommandOptions.Whole("--steps", "Denoising steps (default: the model's)", 1, 1000);
        var guidance = CommandOptions.Number("--guidance", "Strength of guidance; 1 is none (default: the model's)", 0, 100);
        var rescale = CommandOptions.Number("--guidance-rescale", "How far guidance is kept from raising the contrast (default: the model's)", 0, 1);
        var negative = new Option<string?>("--negative") { Description = "What to lead away from (default: the model's)", HelpName = "TEXT" };
        var sampler = CommandOptions.OneOf<SamplerKind>("--sampler", "The method (default: the model's)");
        var eta = CommandOptions.Number("--eta", "Noise that each step of ddim adds (default: the model's)", 0, 1);
        var frames = CommandOptions.Whole("--frames", "Frames per video (default: as trained)", least: 1);
        var rate = CommandOptions.Number("--frame-rate", "Frames per second (default: as trained)", 0.001, 1000);
        var width = CommandOptions.Whole("--width", "Width in pixels (default: as trained)", 1, 16384);
        var height = CommandOptions.Whole("--height", "Height in pixels (default: as trained)", 1, 16384);
        var loop = new Option<bool>("--loop") { Description = "Make videos for a loop: the first frame goes on from the last" };
        var window = CommandOptions.Whole("--frame-window", "Frames that the model sees at a time, for videos longer than trained (default: the model's)", least: 0);
        var overlap = CommandOptions.Whole("--frame-overlap", "Frames that two windows share (default: half a window)", least: 1);
        var keys = CommandOptions.Whole("--key-frames", "Frames made first and spread over the video, for one slow motion all through (default: the model's)", least: 0);
        var source = CommandOptions.Path("--source", "FILE", "A video or image to start from; with --strength or --hold-frames");
        var strength = CommandOptions.Number("--strength", "How much of the source is made anew (default: the model's)", 0, 1);
        var held = CommandOptions.Whole("--hold-frames", "Frames of the source that the videos begin with (default: the model's)", least: 0);
        var weights = new Option<bool>("--prompt-weights") { Description = "Read (word:1.2), (word) and [word] in prompts as weights" };
        var rows = CommandOptions.Whole("--decode-rows", "Rows of a picture that are decoded at a time, to save memory (default: the model's)", least: 0);
        var inTurn = new Option<bool>("--guidance-in-turn") { Description = "Compute prompt and negative prompt one after the other, to save memory" };
        var chunk = CommandOptions.Whole("--spatial-frame-chunk", "Frames that spatial layers compute at a time, to save memory (default: the model's)", least: 0);
        var cache = CommandOptions.Whole("--deep-cache-interval", "Calls of the model that share its inner levels, to save time (default: the model's)", least: 1);
        var budget = CommandOptions.Whole("--memory-budget", "Memory in MiB that generating may take: saves as much as that needs (default: no bound)", 1, int.MaxValue);
        var format = CommandOptions.OneOf<OutputFormat>("--format", "What to write (default: mp4)");
        var upscale = CommandOptions.Whole("--upscale", "Make every pixel a square of this many (default: 1)", 1, 64);
        var sheet = new Option<bool>("--contact-sheet") { Description = $"Write {SheetFile}, too: a row per video (the first {RowsOnSheet}), a column per frame" };
        var loras = CommandOptions.Loras("LoRA files to merge into the model first");
        var gpu = CommandOptions.Gpu();

        var command = new ExampleCommand("generate", "Generates videos from prompts.",
            "mobius generate --model out/model.zip --prompt \"a red circle growing\"",
            "mobius generate --model model.zip --prompts prompts.txt --out videos --format gif --contact-sheet",
            "mobius generate --model folder --prompt \"a cat\" --videos-per-prompt 4 --sampler uni-pc --steps 12",
            "mobius generate --model model.zip --prompt \"a cat walking\" --frames 64 --frame-window 8 --key-frames 8",
            "mobius generate --model model.zip --prompt \"a (red:1.3) circle\" --prompt-weights --loop --format webp",
            "mobius generate --model model.zip --prompt \"a cat\" --source cat.png --hold-frames 1")
        {
            model, prompt, prompts, output, seed, perPrompt, steps, guidance, rescale, negative, sampler, eta, frames, rate, width, height, loop, window, overlap, keys,
            source, strength, held, weights, rows, inTurn, chunk, cache, budget, format, upscale, sheet, loras, gpu,
        };
        command.Validators.Add(parsed =>
        {
            if (parsed.GetValue(prompt) is not { Length: > 0 } && parsed.GetResult(prompts) is null)
                parsed.AddError("There is nothing to show: give --prompt TEXT or --prompts FILE.");
        });
        command.SetAction(parsed =>
        {
            var terminal = mobius.TerminalFor(parsed);
            string folder = parsed.GetValue(output) ?? "videos";
            var kind = parsed.GetValue(format) ?? OutputFormat.Mp4;
            string[] texts = [.. parsed.GetValue(prompt) ?? [], .. parsed.GetValue(prompts) is { } file ? PromptsOf(file) : []];
            WritableFolder.Make(folder, "The output folder");
            if (kind != OutputFormat.Frames || parsed.GetValue(source) is not null)
                VideoReader.CheckFfmpeg();

            var mlContext = terminal.Context(gpu: (int?)parsed.GetValue(gpu));
            using var opened = OpenedModel.Open(mlContext, parsed.GetValue(model)!, terminal, parsed.GetValue(loras));
            var own = opened.Video.Generation;
            opened.Video.Generation = own with
            {
                Seed = parsed.GetValue(seed) ?? own.Seed, SamplingSteps = (int?)parsed.GetValue(steps) ?? own.SamplingSteps,
                GuidanceScale = parsed.GetValue(guidance) ?? own.GuidanceScale, GuidanceRescale = parsed.GetValue(rescale) ?? own.GuidanceRescale,
                NegativePrompt = parsed.GetValue(negative) ?? own.NegativePrompt, Sampler = parsed.GetValue(sampler) ?? own.Sampler,
                Eta = parsed.GetValue(eta) ?? own.Eta, FrameCount = (int?)parsed.GetValue(frames) ?? own.FrameCount,
                FrameRate = parsed.GetValue(rate) ?? own.FrameRate, Width = (int?)parsed.GetValue(width) ?? own.Width,
                Height = (int?)parsed.GetValue(height) ?? own.Height, Loop = parsed.GetValue(loop) || own.Loop,
                FrameWindow = (int?)parsed.GetValue(window) ?? own.FrameWindow,
                FrameOverlap = (int?)parsed.GetValue(overlap) ?? (parsed.GetValue(window) is null ? own.FrameOverlap : null),
                Strength = parsed.GetValue(strength) ?? own.Strength, HeldFrames = (int?)parsed.GetValue(held) ?? own.HeldFrames,
                KeyFrames = (int?)parsed.GetValue(keys) ?? own.KeyFrames, GuidanceInTurn = parsed.GetValue(inTurn) || own.GuidanceInTurn,
                SpatialFrameChunk = (int?)parsed.GetValue(chunk) ?? own.SpatialFrameChunk,
                DeepCacheInterval = (int?)parsed.GetValue(cache) ?? own.DeepCacheInterval,
                PromptWeights = parsed.GetValue(weights) || own.PromptWeights, DecodeRows = (int?)parsed.GetValue(rows) ?? own.DecodeRows,
                MemoryBudget = (int?)parsed.GetValue(budget),
            };
            var start = parsed.GetValue(source) is { } clip ? SourceOf(clip, opened.Video.Generation, terminal.Token) : null;
            Run(opened.Video, texts, start, (int)(parsed.GetValue(perPrompt) ?? 1), folder, kind, (int)(parsed.GetValue(upscale) ?? 1), parsed.GetValue(sheet), terminal);
        });
        return command;
    }

    private static void Run(
        TextToVideoTransformer model, string[] prompts, GenerationStart? start, int perPrompt, string folder, OutputFormat format, int upscale, bool sheet,
        Terminal terminal)
    {
        if (TextToVideoTransformer.Problem(model.Generation, start?.Source) is { } problem)
            throw new ArgumentException(problem);
        var estimate = model.EstimateMemory();
        if (ProcessGroup.IsStartedFirst)
        {
            terminal.Note($"Generating takes {estimate}.");
            if (model.IsOnCpu && OneDnnFix.Notice is { } notice)
                terminal.Note(notice);
        }
        var names = new VideoFileNames();
        var (rows, made) = (new List<ContactSheetRow>(), new JsonArray());
        int count = prompts.Length * perPrompt;
        var clock = Stopwatch.StartNew();
        terminal.Watch("Generating", meter =>
        {
            // Several ranks make the videos in turn, and rank 0 writes them all.
            VideoClip Made(string prompt, int i) => model.Generate(prompt, model.Generation with { Seed = model.Generation.Seed + i }, at => meter(
                (made.Count + (double)at.Step / at.Steps) / count, $"video {made.Count + 1}/{count}  {prompt}"), terminal.Token, start);
            using var videos = ProcessGroup.Current.InTurn(
                from prompt in prompts from i in Enumerable.Range(0, perPrompt) select new Func<VideoClip>(() => Made(prompt, i)),
                VideoMessage.Of, VideoMessage.Read).GetEnumerator();
            foreach (string prompt in prompts)
                for (int i = 0; i < perPrompt; i++)
                {
                    var how = model.Generation with { Seed = model.Generation.Seed + i };
                    var began = clock.Elapsed;
                    try
                    {
                        videos.MoveNext();
                        if (!ProcessGroup.IsStartedFirst)
                            continue;
                        var clip = videos.Current;
                        string path = Write(Path.Combine(folder, names.Next(prompt, how.Seed)), clip, format, upscale, terminal.Token);
                        if (sheet && rows.Count < RowsOnSheet)
                            rows.Add(new ContactSheetRow(prompt, clip));
                        made.Add(new JsonObject
                        {
                            ["path"] = path, ["prompt"] = prompt, ["seed"] = how.Seed, ["frames"] = clip.FrameCount, ["width"] = clip.Width,
                            ["height"] = clip.Height, ["frameRate"] = clip.FrameRate, ["seconds"] = Math.Round((clock.Elapsed - began).TotalSeconds, 2),
                        });
                    }
                    catch (OperationCanceledException e)
                    {
                        throw new OperationCanceledException($"{made.Count} of {count} videos are written, to '{folder}'.", e, terminal.Token);
                    }
                }
            return true;
        });

        if (!ProcessGroup.IsStartedFirst)
            return;
        var result = new JsonObject { ["videos"] = made, ["estimatedMemoryMebibytes"] = estimate.PeakBytes >> 20, ["seconds"] = Math.Round(clock.Elapsed.TotalSeconds, 2) };
        if (sheet)
        {
            result["contactSheet"] = Path.Combine(folder, SheetFile);
            ContactSheet.Write(Path.Combine(folder, SheetFile), rows);
        }
        terminal.Show(result, _ =>
        {
            foreach (var video in made)
                terminal.Say($"{video!["path"]}");
            if (sheet)
                terminal.Say($"{result["contactSheet"]}");
        });
    }

    /// <summary>As many frames of a file as the options ask for, at the size and rate of the videos.</summary>
    private static GenerationStart SourceOf(string file, GenerationOptions how, CancellationToken token)
        => new()
        {
            Source = VideoReader.Read(file, new VideoReadOptions
            {
                FrameCount = how.Strength < 1 ? how.FrameCount : Math.Max(1, how.HeldFrames), Height = how.Height, Width = how.Width, FrameRate = how.FrameRate,
                ShortClip = ShortClip.Refuse,
            }, token),
        };

    private static string Write(string name, VideoClip clip, OutputFormat format, int upscale, CancellationToken token)
    {
        if (format == OutputFormat.Frames)
        {
            VideoWriter.WriteFrames(name, clip, upscale);
            return name;
        }
        string path = $"{name}.{format.ToString().ToLowerInvariant()}";
        VideoWriter.Write(path, clip, upscale, token);
        return path;
    }

    private static string[] PromptsOf(string file)
    {
        if (!File.Exists(file))
            throw new FileNotFoundException($"The file of prompts '{file}' does not exist.");
        string[] prompts = [.. File.ReadLines(file).Where(line => !string.IsNullOrWhiteSpace(line)).Select(line => line.Trim())];
        return prompts.Length > 0 ? prompts : throw new InvalidDataException($"The file of prompts '{file}' is empty.");
    }
}
