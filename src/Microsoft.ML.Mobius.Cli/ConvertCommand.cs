using System.CommandLine;
using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Files;

namespace Microsoft.ML.Mobius.Cli;

/// <summary>Writes a model in another form, with LoRAs merged into it if there are any.</summary>
internal static class ConvertCommand
{
    public static ExampleCommand Define(MobiusCommand mobius)
    {
        var from = new Argument<string>("FROM") { Description = "A .zip, a diffusers folder, a folder that training wrote, or a Stable Diffusion 1.x file" };
        var to = new Argument<string>("TO") { Description = "A file that ends in .zip, or a folder" };
        var loras = CommandOptions.Loras("LoRA files to merge into the model");
        var around = CommandOptions.Path("--base-model", "PATH", "Into a folder: write the temporal half alone, and a reference to this model for the rest");
        var command = new ExampleCommand("convert", "Writes a model as a .zip of ML.NET or as a folder in diffusers' layout.",
            "mobius convert out/model.zip folder", "mobius convert folder model.zip", "mobius convert model.zip styled.zip --lora style.safetensors=0.8")
        {
            from, to, loras, around,
        };
        command.SetAction(parsed =>
        {
            var terminal = mobius.TerminalFor(parsed);
            string source = parsed.GetValue(from)!, target = parsed.GetValue(to)!;
            bool zip = Path.GetExtension(target).Equals(".zip", StringComparison.OrdinalIgnoreCase);
            if (!zip && Path.GetExtension(target).ToLowerInvariant() is ".safetensors" or ".ckpt" or ".bin" or ".pt" or ".pth")
                throw new ArgumentException($"'{target}' is the name of a file of weights: a model is written as a .zip or as a folder.");
            if (zip && parsed.GetValue(around) is not null)
                throw new ArgumentException("--base-model is for folders: a .zip always holds the whole model.");
            if (zip && File.Exists(target) && !OpenedModel.IsSaved(target))
                throw new IOException($"'{target}' is there and no saved model: it is left as it is. Choose another name.");

            var mlContext = terminal.Context();
            using var opened = OpenedModel.Open(mlContext, source, terminal, parsed.GetValue(loras));
            if (zip)
                FileAside.Write(target, aside => mlContext.Model.Save(opened.Whole, opened.Schema, aside));
            else
                opened.Video.SavePretrained(target, parsed.GetValue(around));
            terminal.Show(new JsonObject
            {
                ["written"] = target, ["layout"] = $"{opened.Video.Layout}", ["parameters"] = opened.Video.ParameterCount,
                ["loras"] = new JsonArray([.. opened.Video.Loras.Select(lora => JsonValue.Create(FormattableString.Invariant($"{lora.File} at {lora.Scale}")))]),
            });
        });
        return command;
    }
}
