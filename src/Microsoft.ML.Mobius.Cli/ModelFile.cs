using Microsoft.ML.Mobius.Weights;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Cli;

/// <summary>
/// A model folder in one safetensors file: each tensor is named by its file and its name there, as unet/temporal/conv_in.weight, and the metadata are the
/// other files, configs and tokenizer, by their paths.
/// </summary>
internal static class ModelFile
{
    private const string Extension = ".safetensors", Index = "model_index.json";

    public static bool IsNameOfOne(string path) => Path.GetExtension(path).Equals(Extension, StringComparison.OrdinalIgnoreCase);

    /// <summary>Whether a file is one of these, and not of weights alone.</summary>
    public static bool Is(string path)
    {
        if (!IsNameOfOne(path) || !File.Exists(path))
            return false;
        using var file = WeightFile.Open(path);
        return file.Metadata.ContainsKey(Index);
    }

    /// <summary>Writes a model.</summary>
    /// <param name="file">The file in the end.</param>
    /// <param name="save">Writes the model as a folder, which goes again.</param>
    public static void Write(string file, Action<string> save) => InPassing(folder =>
    {
        save(folder);
        Pack(folder, file);
        return true;
    });

    /// <summary>Reads a model.</summary>
    /// <param name="file">The file.</param>
    /// <param name="open">Reads the model from a folder, which goes again.</param>
    /// <exception cref="InvalidDataException">The file is damaged, or a path in it leads out of the folder.</exception>
    public static T Read<T>(string file, Func<string, T> open) => InPassing(folder =>
    {
        Unpack(file, folder);
        return open(folder);
    });

    private static T InPassing<T>(Func<string, T> run)
    {
        string folder = Directory.CreateTempSubdirectory("mobius-").FullName;
        try
        {
            return run(folder);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static void Pack(string folder, string file)
    {
        var (texts, tensors) = (new Dictionary<string, string>(), new Dictionary<string, Tensor>());
        try
        {
            foreach (string path in Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal))
            {
                string name = Path.GetRelativePath(folder, path).Replace('\\', '/');
                if (!IsNameOfOne(path))
                {
                    texts.Add(name, File.ReadAllText(path));
                    continue;
                }
                using var weights = WeightFile.Open(path);
                foreach (string tensor in weights.Entries.Keys)
                    tensors.Add($"{name[..^Extension.Length]}/{tensor}", weights.Read(tensor));
            }
            Safetensors.Write(file, tensors, metadata: texts);
        }
        finally
        {
            foreach (var tensor in tensors.Values)
                tensor.Dispose();
        }
    }

    private static void Unpack(string file, string folder)
    {
        using var weights = WeightFile.Open(file);
        foreach (var (name, text) in weights.Metadata)
            File.WriteAllText(PathOf(name), text);
        foreach (var part in weights.Entries.Keys.GroupBy(name => name[..Math.Max(0, name.LastIndexOf('/'))]))
        {
            var tensors = part.ToDictionary(name => name[(part.Key.Length + 1)..], name => weights.Read(name));
            Safetensors.Write(PathOf(part.Key + Extension), tensors);
            foreach (var tensor in tensors.Values)
                tensor.Dispose();
        }

        string PathOf(string name)
        {
            string path = Path.GetFullPath(Path.Combine(folder, name));
            if (!path.StartsWith(Path.GetFullPath(folder) + Path.DirectorySeparatorChar, StringComparison.Ordinal))
                throw new InvalidDataException($"'{file}' is no model: '{name}' in it is not the name of a file of a model folder.");
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            return path;
        }
    }
}
