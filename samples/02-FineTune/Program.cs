// Fine-tunes on a folder of clips with a captions.jsonl, one line {"video": "0000.mp4", "caption": "a red circle growing"} per clip, and saves
// the model. First draw clips: dotnet run -c Release --project samples/Shapes -- --out clips
// Then: dotnet run -c Release --project samples/02-FineTune -- clips model.zip 1000
using System.Text.Json;
using Microsoft.ML;
using Microsoft.ML.Mobius;
using Microsoft.ML.Runtime;

string folder = args.Length > 0 ? args[0] : "clips";
string modelFile = args.Length > 1 ? args[1] : "model.zip";
int steps = args.Length > 2 ? int.Parse(args[2]) : 1000;

var mlContext = new MLContext(seed: 0);
mlContext.Log += (_, e) =>
{
    if (e.Kind != ChannelMessageKind.Trace)
        Console.WriteLine(e.Message);
};

IDataView clips = mlContext.Data.LoadFromEnumerable(
    from line in File.ReadLines(Path.Combine(folder, "captions.jsonl"))
    let entry = JsonSerializer.Deserialize<Entry>(line, JsonSerializerOptions.Web)
    select new Row { Clip = Path.Combine(folder, entry.Video), Caption = entry.Caption });

using TextToVideoTransformer model = mlContext.Transforms.TextToVideo(steps: steps).Fit(clips);
mlContext.Model.Save(model, clips.Schema, modelFile);
Console.WriteLine($"{model.TrainedParameterCount:N0} of {model.ParameterCount:N0} parameters trained; the model is in {modelFile}.");

sealed record Entry(string Video, string Caption);

sealed class Row
{
    public string Clip { get; set; } = "";

    public string Caption { get; set; } = "";
}
