// A pipeline that cleans the prompt, generates a video, and writes it as a file; used row by row through a prediction engine.
// Run: dotnet run -c Release --project samples/03-Pipeline -- clips   (a folder of sample Shapes; see 02-FineTune)
using System.Text.Json;
using Microsoft.ML;
using Microsoft.ML.Transforms.Text;

string folder = args.Length > 0 ? args[0] : "clips";
int steps = args.Length > 1 ? int.Parse(args[1]) : 1000;

var mlContext = new MLContext(seed: 0);
IDataView clips = mlContext.Data.LoadFromEnumerable(
    from line in File.ReadLines(Path.Combine(folder, "captions.jsonl"))
    let entry = JsonSerializer.Deserialize<Entry>(line, JsonSerializerOptions.Web)
    select new Row { Clip = Path.Combine(folder, entry.Video), Caption = entry.Caption });

var pipeline = mlContext.Transforms.Text
    .NormalizeText("Caption", caseMode: TextNormalizingEstimator.CaseMode.Lower, keepPunctuations: false)
    .Append(mlContext.Transforms.TextToVideo(steps: steps))
    .Append(mlContext.Transforms.SaveVideos("Path", "Video", folder: "videos"));

using var model = pipeline.Fit(clips);
using var engine = mlContext.Model.CreatePredictionEngine<Row, Saved>(model, new PredictionEngineOptions { OwnsTransformer = false });
foreach (string prompt in new[] { "A red circle, moving left!", "A BLUE cross growing" })
    Console.WriteLine($"'{prompt}' in {engine.Predict(new Row { Caption = prompt }).Path}");

sealed record Entry(string Video, string Caption);

sealed class Row
{
    public string Clip { get; set; } = "";

    public string Caption { get; set; } = "";
}

sealed class Saved
{
    public string Path { get; set; } = "";
}
