using System.Text.Json;
using Microsoft.ML.Mobius.Weights;

namespace Microsoft.ML.Mobius.UNet;

/// <summary>
/// Motion modules as they are published: diffusers' MotionAdapter (a folder with config.json, or its file alone), or a file of AnimateDiff itself (versions
/// 1 to 3). Their weights become the temporal half of a Serial U-Net around the image model that they were made for.
/// </summary>
/// <remarks>
/// The U-Net then computes what diffusers' UNetMotionModel does, for both kinds of file. AnimateDiff's own program differs from that in its norms, not in its
/// weights: the norm of a motion module is over each frame alone there, and in version 1 the norms of the image layers are over all frames.
/// </remarks>
internal sealed class MotionModules : IDisposable
{
    private static readonly string[] FolderFiles =
        ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.bin"];

    private const string FirstTable = ".attention_blocks.0.pos_encoder.pe", SecondTable = ".attention_blocks.1.pos_encoder.pe";

    private readonly WeightFile _weights;

    private MotionModules(WeightFile weights, MotionConfig config) => (_weights, Config) = (weights, config);

    public MotionConfig Config { get; }

    /// <summary>The file's name, for messages.</summary>
    public string Name => _weights.Name;

    /// <param name="path">A folder or a file.</param>
    /// <param name="config">Its configuration; by default config.json beside the file, or if there is none, that of the published modules.</param>
    /// <exception cref="FileNotFoundException">There is no such file, or none of the known names in the folder.</exception>
    /// <exception cref="InvalidDataException">The file is damaged, or holds no motion modules.</exception>
    public static MotionModules Open(string path, MotionConfig? config = null)
    {
        string file = !Directory.Exists(path) ? path : FolderFiles.Select(name => Path.Combine(path, name)).FirstOrDefault(File.Exists)
            ?? throw new FileNotFoundException($"The folder '{path}' has no motion modules: expected one of {string.Join(", ", FolderFiles)}.");
        var weights = WeightFile.Open(file);
        try
        {
            var table = weights.Entries.Values.FirstOrDefault(entry => NameOf(entry.Name) is { } name && name.EndsWith(".pos_embed.pe", StringComparison.Ordinal));
            if (table is not { Shape: [1, var limit and <= int.MaxValue, _] })
                throw new InvalidDataException($"{weights.Name} holds no motion modules: none of its {weights.Entries.Count} keys is a table of frame places.");
            config ??= ConfigBeside(file) ?? new MotionConfig();
            return new MotionModules(weights, config with
            {
                FrameLimit = (int)limit,
                Middle = weights.Entries.Keys.Any(key => key.Contains("mid_block.", StringComparison.Ordinal)),
            });
        }
        catch
        {
            weights.Dispose();
            throw;
        }
    }

    /// <summary>Copies the weights into the temporal half of a U-Net whose configuration has <see cref="Config"/>.</summary>
    /// <exception cref="WeightMismatchException">A name is missing or unexpected, or a shape differs: another image model's, as a rule.</exception>
    /// <exception cref="InvalidDataException">The two attentions of a module have different tables of places.</exception>
    public void LoadInto(TemporalStream temporal)
    {
        foreach (string second in _weights.Entries.Keys.Where(key => key.EndsWith(SecondTable, StringComparison.Ordinal)))
        {
            using var table = _weights.Read(second);
            using var first = _weights.Read(second.Replace(SecondTable, FirstTable));
            if (!table.Equals(first))
                throw new InvalidDataException($"{Name}: {second} is another table than that of the first attention; they must be the same.");
        }
        StateDict.Load(temporal, _weights, NameOf);
    }

    public void Dispose() => _weights.Dispose();

    /// <summary>The name in our temporal half of what diffusers or AnimateDiff stores; null for the second table of places, which repeats the first.</summary>
    internal static string? NameOf(string stored) => stored.EndsWith(SecondTable, StringComparison.Ordinal) ? null
        : (stored.StartsWith("module.", StringComparison.Ordinal) ? stored["module.".Length..] : stored)
            .Replace(".motion_modules.", ".temp_attentions.").Replace(".temporal_transformer.", ".")
            .Replace(FirstTable, ".pos_embed.pe").Replace(".attention_blocks.0.", ".attn1.").Replace(".attention_blocks.1.", ".attn2.")
            .Replace(".norms.0.", ".norm1.").Replace(".norms.1.", ".norm2.").Replace(".ff_norm.", ".norm3.");

    private static MotionConfig? ConfigBeside(string file)
    {
        string path = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(file))!, "config.json");
        if (!File.Exists(path))
            return null;
        try
        {
            var json = JsonSerializer.Deserialize<JsonElement>(File.ReadAllText(path));
            return json.TryGetProperty("_class_name", out var name) && name.ValueEquals("MotionAdapter") ? json.Deserialize<MotionConfig>() : null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new InvalidDataException($"'{path}' is not the configuration of a MotionAdapter. {e.Message}", e);
        }
    }
}
