using System.CommandLine;
using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Files;

namespace Microsoft.ML.Mobius.Cli;

/// <summary>Writes a model in another form, with LoRAs merged into it if there are any.</summary>
internal static class ConvertCommand
{
    public static ExampleCommand Define(MobiusCommand mobius)
    {
        var from = new Argument<string>("FROM") { Description = "A .zip, a diffusers folder, a folder that training wrote, a .safetensors file of this command, or a Stable Diffusion 1.x file" };
        var to = new Argument<string>("TO") { Description = "A file that ends in .zip or .safetensors, or a folder" };
        var loras = CommandOptions.Loras("LoRA files to merge into the model");
        var around = CommandOptions.Path("--base-model", "PATH", "Into a folder: write the temporal half alone, and a reference to this model for the rest");
        var command = new ExampleCommand("convert", "Writes a model as a .zip of ML.NET, as a folder in diffusers' layout, or as one .safetensors file.",
            "mobius convert out/model.zip folder", "mobius convert folder model.zip", "mobius convert folder all.safetensors",
            "mobius convert model.zip styled.zip --lora style.safetensors=0.8")
        {
            from, to, loras, around,
        };
        command.SetAction(parsed =>
        {
            var terminal = mobius.TerminalFor(parsed);
            string source = parsed.GetValue(from)!, target = parsed.GetValue(to)!;
            bool zip = Path.GetExtension(target).Equals(".zip", StringComparison.OrdinalIgnoreCase), file = !zip && ModelFile.IsNameOfOne(target);
            if (Path.GetExtension(target).ToLowerInvariant() is ".ckpt" or ".bin" or ".pt" or ".pth")
                throw new ArgumentException($"'{target}' is the name of a file of PyTorch: a model is written as a .zip, a .safetensors file or a folder.");
            if ((zip || file) && parsed.GetValue(around) is not null)
                throw new ArgumentException("--base-model is for folders: a file always holds the whole model.");
            if (File.Exists(target) && (zip ? !OpenedModel.IsSaved(target) : file && !ModelFile.Is(target)))
                throw new IOException($"'{target}' is there and no model that this command writes: it is left as it is. Choose another name.");

            var mlContext = terminal.Context();
            using var opened = OpenedModel.Open(mlContext, source, terminal, parsed.GetValue(loras));
            if (zip)
                FileAside.Write(target, aside => mlContext.Model.Save(opened.Whole, opened.Schema, aside));
            else if (file)
                ModelFile.Write(target, folder => opened.Video.SavePretrained(folder));
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
