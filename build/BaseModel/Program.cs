using System.Text.Json;
using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.BaseModel;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

string stage = args[0];
string folder = args[1];
int steps = int.Parse(args[2]);
set_num_threads(Environment.ProcessorCount);
random.manual_seed(0);
void Say(string line) => Console.WriteLine($"{DateTime.Now:HH:mm:ss} {line}");

if (stage == "vae")
{
    var config = new AutoencoderKlConfig { BlockOutChannels = [24, 48, 96, 96], LatentChannels = 12, LayersPerBlock = 1, NormNumGroups = 8 };
    using var images = new ImageSource(1, Stills.ForAutoencoder);
    var vae = AutoencoderTraining.Train(config, images, steps, int.Parse(args[3]), 2e-3, Say);
    Say($"{vae.parameters().Sum(p => p.numel())} parameters");
    Directory.CreateDirectory(Path.Combine(folder, "vae"));
    using (no_grad())
    using (NewDisposeScope())
    {
        using var probe = new ImageSource(2, Stills.ForAutoencoder);
        var latents = cat([.. Enumerable.Range(0, 16).Select(_ => vae.Posterior(probe.Next(32)).Mean)]);
        config = config with { ScalingFactor = Math.Round(1 / latents.std().item<float>(), 4) };
        Say($"latent std {latents.std().item<float>()}");
    }
    File.WriteAllText(Path.Combine(folder, "vae", "config.json"), JsonSerializer.Serialize(config, new JsonSerializerOptions { WriteIndented = true }));
    using var stream = File.Create(Path.Combine(folder, "vae", "diffusion_pytorch_model.safetensors"));
    Safetensors.Write(stream, StateDict.Of(vae), ScalarType.Float16);
}
