// Makes the embedded base model from nothing: `build/base-model.sh`. Everything it learns from it draws itself.
using System.Text.Json;
using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.BaseModel;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Text;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

if (args.Length < 1)
{
    Console.Error.WriteLine("usage: FOLDER [--autoencoder-from FOLDER] [--fraction 1.0]");
    return 2;
}
string folder = args[0];
string? Option(string name) => Array.IndexOf(args, name) is var at and >= 0 ? args[at + 1] : null;
double fraction = double.Parse(Option("--fraction") ?? "1");
int Scaled(int count) => Math.Max(1, (int)(count * fraction));
set_num_threads(Environment.ProcessorCount);
random.manual_seed(0);
void Say(string line) => Console.WriteLine($"{DateTime.Now:HH:mm:ss} {line}");

var (vocabulary, mergesText) = BytePairTraining.Train(Words.Captions(), mergeCount: 400);
var tokenizer = ClipTokenizer.Create(
    new MemoryStream(System.Text.Encoding.UTF8.GetBytes(vocabulary)), new MemoryStream(System.Text.Encoding.UTF8.GetBytes(mergesText)), maxLength: 32);

AutoencoderKl autoencoder;
if (Option("--autoencoder-from") is { } from)
{
    autoencoder = new AutoencoderKl(JsonSerializer.Deserialize<AutoencoderKlConfig>(File.ReadAllText(Path.Combine(from, "vae/config.json")))!);
    using var stream = File.OpenRead(Path.Combine(from, "vae/diffusion_pytorch_model.safetensors"));
    StateDict.Load(autoencoder, Safetensors.Read(stream, ScalarType.Float32), from);
}
else
{
    var config = new AutoencoderKlConfig { BlockOutChannels = [16, 32, 64, 96], LatentChannels = 12, LayersPerBlock = 1, NormNumGroups = 8 };
    using var images = new ImageSource(1, Stills.ForAutoencoder);
    autoencoder = AutoencoderTraining.Train(config, images, cropSteps: Scaled(2800), steps: Scaled(3400), learningRate: 2e-3, say: Say);
}
autoencoder.eval();

var model = TextToImageTraining.Train(autoencoder, tokenizer, stills: Scaled(16000), steps: Scaled(1600), Say);
model.Save((name, write) =>
{
    string path = Path.Combine(folder, name);
    Directory.CreateDirectory(Path.GetDirectoryName(path)!);
    using (var stream = File.Create(path + ".aside"))
        write(stream);
    File.Move(path + ".aside", path, overwrite: true);
});
Say($"saved to {folder}: {new DirectoryInfo(folder).EnumerateFiles("*", SearchOption.AllDirectories).Sum(f => f.Length) / 1e6:F2} MB");
return 0;
