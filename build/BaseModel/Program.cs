// Makes the embedded base model from nothing: `build/base-model.sh`. Everything it learns from it draws itself.
using System.Text;
using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.BaseModel;
using Microsoft.ML.Mobius.Files;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Text;
using TorchSharp;
using static TorchSharp.torch;

if (args.Length < 1)
{
    Console.Error.WriteLine("usage: FOLDER [--fraction 1.0: of all steps] [--autoencoder-from FOLDER: of an earlier model, as it is]");
    return 2;
}
string folder = args[0];
string? Option(string name) => Array.IndexOf(args, name) is var at and >= 0 ? args[at + 1] : null;
double fraction = double.Parse(Option("--fraction") ?? "1");
int Scaled(int count) => Math.Max(1, (int)(count * fraction));
set_num_threads(Environment.ProcessorCount);
random.manual_seed(0);
void Say(string line) => Console.WriteLine($"{DateTime.Now:HH:mm:ss} {line}");

var (vocabulary, merges) = BytePairTraining.Train(Words.Captions(), mergeCount: 400);
var tokenizer = ClipTokenizer.Create(new MemoryStream(Encoding.UTF8.GetBytes(vocabulary)), new MemoryStream(Encoding.UTF8.GetBytes(merges)), maxLength: 32);

AutoencoderKl autoencoder;
if (Option("--autoencoder-from") is { } from)
{
    autoencoder = TextToImageModel.Load(name => File.OpenRead(Path.Combine(from, name))).Autoencoder;
}
else
{
    var config = new AutoencoderKlConfig { BlockOutChannels = [16, 32, 64, 96], LatentChannels = 12, LayersPerBlock = 1, NormNumGroups = 8 };
    using var images = new ImageSource(1, Stills.ForAutoencoder);
    autoencoder = AutoencoderTraining.Train(config, images, cropSteps: Scaled(2800), steps: Scaled(3400), learningRate: 2e-3, Say);
    AutoencoderTraining.PolishDecoder(autoencoder, images, Scaled(750), learningRate: 5e-4, Say);
}

var model = TextToImageTraining.Start(autoencoder, tokenizer);
TextToImageTraining.Train(model, Stills.WithPlaces, seed: 4, stills: Scaled(20000), steps: Scaled(2000), learningRate: 1e-3, Say, Save);
TextToImageTraining.Train(model, Stills.WithMotions, seed: 5, stills: Scaled(20000), steps: Scaled(3600), learningRate: 1e-3, Say, Save);
Save();
Say($"saved to {folder}: {new DirectoryInfo(folder).EnumerateFiles("*", SearchOption.AllDirectories).Sum(f => f.Length) / 1e6:F2} MB");
return 0;

void Save() => model.Save((name, write) => FileAside.WriteThrough(Path.Combine(folder, name), write));
