using System.CommandLine;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Cli.Evaluation;
using Microsoft.ML.Mobius.Files;
using Microsoft.ML.Mobius.Shapes;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Cli;

/// <summary>Measures a model, or one against another, on clips that it was not trained on.</summary>
internal static class EvaluateCommand
{
    private const int LeastVideos = 4, RowsOnSheet = 6;

    public static ExampleCommand Define(MobiusCommand mobius)
    {
        var model = CommandOptions.Path("--model", "PATH", "The model, in any form that generate takes", required: true);
        var other = CommandOptions.Path("--against", "PATH", "Another model to compare with");
        var clips = CommandOptions.Path("--clips", "FOLDER", "Captioned clips that the models were not trained on", required: true);
        var count = CommandOptions.Whole("--count", "Clips to measure on, the first ones (default: 64)", least: 2);
        var videos = CommandOptions.Whole("--videos", "Videos to generate, for the first captions (default: 16)", least: 0);
        var steps = CommandOptions.Whole("--steps", "Denoising steps per video (default: each model's)", 1, 1000);
        var seed = CommandOptions.Whole("--seed", "Seed of noise and videos (default: 0)", 0, int.MaxValue);
        var output = CommandOptions.Path("--out", "FOLDER", "Folder for report.html and the sheets (default: evaluation)");
        var gpu = CommandOptions.Gpu();
        var command = new ExampleCommand("evaluate", "Measures a model on clips that it was not trained on, and writes a report.",
            "mobius evaluate --model out/model.zip --clips held-out", "mobius evaluate --model new.zip --against old.zip --clips held-out --videos 32")
        {
            model, other, clips, count, videos, steps, seed, output, gpu,
        };
        command.SetAction(parsed =>
        {
            var terminal = mobius.TerminalFor(parsed);
            string folder = parsed.GetValue(output) ?? "evaluation";
            var listed = CaptionedClip.ReadFolder(parsed.GetValue(clips)!).Take((int)(parsed.GetValue(count) ?? 64)).ToArray();
            if (listed.Length < 2)
                throw new InvalidDataException($"'{parsed.GetValue(clips)}' has one clip; intervals need at least 2.");
            string[] paths = [parsed.GetValue(model)!, .. parsed.GetValue(other) is { } second ? [second] : Array.Empty<string>()];
            WritableFolder.Make(folder, "The output folder");
            VideoReader.CheckFfmpeg();
            int made = Math.Min(listed.Length, (int)(parsed.GetValue(videos) ?? 16));

            var measured = new List<Measured>();
            foreach (string path in paths)
            {
                using var opened = OpenedModel.Open(terminal.Context(gpu: (int?)parsed.GetValue(gpu)), path, terminal);
                measured.Add(Measure(opened.Video, path, listed, made, (int?)parsed.GetValue(steps), parsed.GetValue(seed) ?? 0, terminal));
            }
            string note = $"The first {listed.Length} clips of '{parsed.GetValue(clips)}', {made} videos, seed {parsed.GetValue(seed) ?? 0}. "
                + string.Join(' ', measured.Select(one => $"{one.Path}: {one.Size}."));
            Show(measured, listed, folder, note, terminal);
        });
        return command;
    }

    private static Measured Measure(
        TextToVideoTransformer model, string path, CaptionedClip[] listed, int videos, int? steps, long seed, Terminal terminal)
    {
        var how = model.Generation with { Seed = seed, SamplingSteps = steps ?? model.Generation.SamplingSteps };
        return terminal.Watch("Evaluating", meter =>
        {
            // A clip costs about as much as a step of generating: good enough for the bar.
            double work = 2.0 * listed.Length + videos * how.SamplingSteps, done = 0;
            void Tell(double more, string detail)
            {
                terminal.Token.ThrowIfCancellationRequested();
                meter((done += more) / work, detail);
            }

            var reading = new VideoReadOptions { FrameCount = how.FrameCount, Width = how.Width, Height = how.Height, FrameRate = how.FrameRate };
            var real = new List<(string Caption, VideoClip Clip)>();
            foreach (var clip in listed)
            {
                real.Add((clip.Caption, VideoReader.Read(clip.Clip, reading, terminal.Token)));
                Tell(1, $"reading {real.Count}/{listed.Length}  {path}");
            }
            var losses = LossByTime.Measure(model.Model, real, seed, i => Tell(1, $"loss {i}/{listed.Length}  {path}"));
            var generated = new List<VideoClip>();
            foreach (var (caption, _) in real.Take(videos))
                generated.Add(model.Generate(caption, how, _ => Tell(1, $"video {generated.Count + 1}/{videos}  {path}"), terminal.Token));
            int[] times = [.. Enumerable.Range(0, LossByTime.Bins).Select(bin => LossByTime.TimeOf(model.Model, bin))];
            string size = $"{how.FrameCount} frames of {how.Width}x{how.Height} pixels in {how.SamplingSteps} steps";
            return new Measured(path, model.Model.Schedule.Config.PredictionType, size, times, losses, [.. real.Select(one => one.Clip)], generated);
        });
    }

    private static void Show(List<Measured> models, CaptionedClip[] listed, string folder, string note, Terminal terminal)
    {
        if (models.Select(model => model.Predicts).Distinct().Count() > 1)
            terminal.Warn("The models predict different things (noise, velocity, clean frames): their losses are not of one scale.");
        var (json, tables, sheets) = (new JsonObject { ["clips"] = listed.Length }, new List<ReportTable>(), new List<(string, string)>());
        Losses(models, json, tables);
        if (models[0].Generated.Count > 0)
        {
            Attributes(models, listed, json, tables);
            Pixels(models, json, tables);
            Distances(models, json, tables, terminal);
            Sheet("Clips", models[0].Real.Take(RowsOnSheet), "clips.png");
            for (int i = 0; i < models.Count; i++)
            {
                Sheet($"Generated by {models[i].Path}", models[i].Generated.Take(RowsOnSheet), $"generated-{i + 1}.png");
                WriteVideos(Path.Combine(folder, $"generated-{i + 1}"), models[i].Generated, listed, terminal.Token);
            }
            json["videos"] = new JsonArray([.. models.Select((_, i) => JsonValue.Create(Path.Combine(folder, $"generated-{i + 1}")))]);
        }
        string report = Path.Combine(folder, "report.html");
        var curves = models.Select(model => new LossCurve(model.Path, [.. model.Times.Index().Select(t => (t.Item, Bootstrap.Of(model.LossesAt(t.Index))))]));
        EvaluationReport.Write(report, string.Join(" against ", models.Select(model => model.Path)), note, tables, [.. curves], sheets);
        json["report"] = report;
        terminal.Show(json);

        void Sheet(string title, IEnumerable<VideoClip> rows, string name)
        {
            string file = Path.Combine(folder, name);
            ContactSheet.Write(file, [.. rows.Zip(listed, (clip, one) => new ContactSheetRow(one.Caption, clip))], scale: 1);
            sheets.Add((title, file));
        }
    }

    /// <summary>A folder of captioned clips, to be measured or trained on as any.</summary>
    private static void WriteVideos(string folder, IReadOnlyList<VideoClip> videos, CaptionedClip[] listed, CancellationToken token)
    {
        var lines = new StringBuilder();
        foreach (var (i, video) in videos.Index())
        {
            string name = FormattableString.Invariant($"{i:D4}.mp4");
            VideoWriter.Write(Path.Combine(folder, name), video, cancellationToken: token);
            lines.AppendLine(JsonSerializer.Serialize(new { video = name, caption = listed[i].Caption }));
        }
        FileAside.Write(Path.Combine(folder, "captions.jsonl"), aside => File.WriteAllText(aside, lines.ToString()));
    }

    private static void Losses(List<Measured> models, JsonObject json, List<ReportTable> tables)
    {
        var (rows, lines) = (new JsonArray(), new List<string[]>());
        void Add(string name, Func<Measured, IReadOnlyList<double>> of)
        {
            var row = new JsonObject { ["time"] = name };
            var line = new List<string> { name };
            for (int i = 0; i < models.Count; i++)
                Put(i == 0 ? "loss" : "against", Bootstrap.Of(of(models[i])));
            if (models.Count == 2)
                Put("difference", Bootstrap.Of([.. of(models[0]).Zip(of(models[1]), (a, b) => a - b)]));
            rows.Add(row);
            lines.Add([.. line]);

            void Put(string what, Interval interval)
            {
                (row[what], row[what + "Low"], row[what + "High"]) = (Round(interval.Mean), Round(interval.Low), Round(interval.High));
                line.Add($"{EvaluationReport.Number(interval.Mean)}  [{EvaluationReport.Number(interval.Low)}, {EvaluationReport.Number(interval.High)}]");
            }
        }

        foreach (var (bin, time) in models[0].Times.Index())
            Add($"{time}", model => model.LossesAt(bin));
        Add("all", model => [.. model.Losses.Select(clip => clip.Average())]);
        json["loss"] = rows;
        tables.Add(new("Denoising loss on held-out clips",
            "Mean squared error of what the model predicts, by time step (small: little noise), with the 95 % interval over clips (bootstrap). The difference is of "
            + "pairs, first minus second: below zero the first model is better.",
            ["time step", .. models.Select(model => model.Path), .. models.Count == 2 ? ["difference"] : Array.Empty<string>()], lines));
    }

    /// <summary>Whether videos show what their captions say; nothing unless these are all captions of the drawn shapes, and the videos of their size.</summary>
    private static void Attributes(List<Measured> models, CaptionedClip[] listed, JsonObject json, List<ReportTable> tables)
    {
        int count = models[0].Generated.Count;
        ShapeCombination[] asked = [.. listed.Take(count).SelectMany(clip => ShapeSpec.TryParse(clip.Caption, out var one) ? [one] : Array.Empty<ShapeCombination>())];
        if (asked.Length < count || models.Any(model => model.Generated[0] is not { Width: ShapeSpec.Width, Height: ShapeSpec.Height, FrameCount: > 1 }))
            return;
        var (rows, lines) = (new JsonArray(), new List<string[]>());
        foreach (var (name, clips) in models.Select(model => (model.Path, model.Generated)).Prepend(("clips", models[0].Real)))
        {
            AttributeScores[] scores = [.. clips.Zip(asked, (clip, one) => AttributeEvaluator.Evaluate(clip.Pixels.Span, clip.FrameCount, clip.Height, clip.Width, one))];
            Add(name, "seen in training", [.. scores.Where(one => !one.Combination.IsNeverTrained)]);
            Add(name, "never trained", [.. scores.Where(one => one.Combination.IsNeverTrained)]);
        }
        json["attributes"] = rows;
        tables.Add(new("Colour, shape and motion",
            "Percent of the videos that show what their captions say, told from the pixels alone. The clips of the same captions are measured, too: what they miss of 100 "
            + "is the measure's own error. Trained are the combinations that samples/Shapes draws to train on.",
            ["", "combinations", "videos", "colour", "shape", "motion", "all three"], lines));

        void Add(string name, string combinations, AttributeScores[] scores)
        {
            if (AttributeShares.Of(scores) is not { } right)
                return;
            double[] percent = [.. new[] { right.Colour, right.Shape, right.Motion, right.All }.Select(share => Math.Round(100 * share, 1))];
            rows.Add(new JsonObject
            {
                ["of"] = name, ["combinations"] = combinations, ["videos"] = right.Videos,
                ["colour"] = percent[0], ["shape"] = percent[1], ["motion"] = percent[2], ["all"] = percent[3],
            });
            lines.Add([name, combinations, $"{right.Videos}", .. percent.Select(one => EvaluationReport.Number(one) + " %")]);
        }
    }

    private static void Pixels(List<Measured> models, JsonObject json, List<ReportTable> tables)
    {
        var (rows, lines) = (new JsonArray(), new List<string[]>());
        foreach (var (name, clips) in models.Select(model => (model.Path, model.Generated)).Prepend(("clips", [.. models[0].Real])))
        {
            PixelMeasures[] all = [.. clips.Select(PixelMeasures.Of)];
            double flicker = all.Average(one => one.Flicker), share = all.Average(one => one.StaticShare), motion = all.Average(one => one.Motion);
            rows.Add(new JsonObject { ["of"] = name, ["flicker"] = Round(flicker), ["staticShare"] = Round(share), ["motion"] = Round(motion) });
            lines.Add([name, EvaluationReport.Number(flicker), EvaluationReport.Number(100 * share) + " %", EvaluationReport.Number(motion)]);
        }
        json["pixels"] = rows;
        tables.Add(new("Flicker and motion",
            "Flicker: mean change between neighbouring frames, in levels of 0 to 255, of the static pixels, those that never leave their median over time by more than a "
            + "tenth of the range. Motion: pixels per frame of the fastest twentieth of the textured 8x8 blocks, by block matching within 6 pixels.",
            ["", "flicker", "static pixels", "motion"], lines));
    }

    private static void Distances(List<Measured> models, JsonObject json, List<ReportTable> tables, Terminal terminal)
    {
        int size = Math.Min(models[0].Generated.Count, models[0].Real.Count / 2);
        if (size < LeastVideos)
        {
            terminal.Warn($"The Fréchet distance is left out: it needs at least {LeastVideos} videos and twice as many clips.");
            return;
        }
        using var features = new RandomFeatures();
        var (rows, lines) = (new JsonArray(), new List<string[]>());
        void Add(string name, double distance)
        {
            rows.Add(new JsonObject { ["between"] = name, ["distance"] = Round(distance) });
            lines.Add([name, EvaluationReport.Number(distance)]);
        }

        foreach (var (i, model) in models.Index())
        {
            double[][] real = features.Of(model.Real.Take(2 * size)), generated = features.Of(model.Generated.Take(size));
            if (i == 0)
                Add("clips and other clips (the floor)", RandomFeatures.Distance(real[..size], real[size..]));
            Add($"clips and {model.Path}", RandomFeatures.Distance(real[size..], generated));
        }
        json["frechetDistanceOnRandomFeatures"] = rows;
        tables.Add(new("Fréchet distance on fixed random 3D features",
            $"Between sets of {size}. The features are those of a fixed network of random 3D convolutions: not the FVD of papers, and to be compared with the floor, and "
            + "with numbers of equally large sets, alone.", ["between", "distance"], lines));
    }

    private static double Round(double value) => Math.Round(value, 6);

    /// <summary>What was measured of one model.</summary>
    private sealed record Measured(
        string Path, string Predicts, string Size, int[] Times, double[][] Losses, IReadOnlyList<VideoClip> Real, IReadOnlyList<VideoClip> Generated)
    {
        public double[] LossesAt(int bin) => [.. Losses.Select(clip => clip[bin])];
    }
}
