// What a user's program does with a saved model, in a process of its own: RoundTrip <model.zip> <thread count> <prompt>...
// Prints whether our assembly was loaded before the model was, the model's type, and the SHA-256 of each prompt's video.
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Mobius.Video;

var ml = new MLContext(1);
Console.WriteLine(AppDomain.CurrentDomain.GetAssemblies().Any(assembly => assembly.GetName().Name == "Microsoft.ML.Mobius"));
var model = ml.Model.Load(args[0], out _);
var elements = model as IEnumerable<ITransformer> ?? [model];
Console.WriteLine(string.Join(' ', elements.Select(element => element.GetType().FullName)));
Generate(ml, model, int.Parse(args[1]), args[2..]);
(model as IDisposable)?.Dispose();

// Apart, so that the JIT needs none of our types before the model is loaded.
[MethodImpl(MethodImplOptions.NoInlining)]
static void Generate(MLContext ml, ITransformer model, int threads, string[] prompts)
{
    TorchSharp.torch.set_num_threads(threads);
    var view = model.Transform(ml.Data.LoadFromEnumerable(prompts.Select(prompt => new Row { Caption = prompt })));
    foreach (var clip in view.GetColumn<VideoClip>("Video"))
        Console.WriteLine(Convert.ToHexString(SHA256.HashData(clip.Pixels.Span)));
}

internal sealed class Row
{
    public string Caption { get; set; } = "";
}
