// Generates a video from the embedded base model as it is, the start of every training: the frames show what the prompt says, but nothing
// makes them one scene yet. Run: dotnet run -c Release --project samples/01-Generate -- "a red circle" circle.mp4
using Microsoft.ML;
using Microsoft.ML.Mobius;
using Microsoft.ML.Mobius.Video;

string prompt = args.Length > 0 ? args[0] : "a red circle";
string file = args.Length > 1 ? args[1] : "untrained.mp4";

var mlContext = new MLContext(seed: 0);
IDataView prompts = mlContext.Data.LoadFromEnumerable([new Prompt { Caption = prompt }]);

using TextToVideoTransformer model = mlContext.Transforms.TextToVideo(steps: 0).Fit(prompts);
IDataView videos = model.Transform(prompts);

VideoWriter.Write(file, mlContext.Data.CreateEnumerable<Generated>(videos, reuseRowObject: false).Single().Video!, upscale: 4);
Console.WriteLine($"'{prompt}' in {file}");

sealed class Prompt
{
    public string Caption { get; set; } = "";
}

sealed class Generated
{
    [VideoType] public VideoClip? Video { get; set; }
}
