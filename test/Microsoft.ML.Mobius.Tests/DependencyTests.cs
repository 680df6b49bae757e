using System.Text.RegularExpressions;

namespace Microsoft.ML.Mobius.Tests;

/// <summary>Who may import whom: data flows one way through the folders of src, and packages stay in theirs.</summary>
[TestClass]
public sealed partial class DependencyTests
{
    /// <summary>The folders of ours that a folder may import.</summary>
    private static readonly Dictionary<string, string[]> s_mayImport = new()
    {
        ["Torch"] = [],
        ["Files"] = [],
        ["Distributed"] = [],
        ["Layers"] = ["Torch"],
        ["Weights"] = ["Files", "Torch"],
        ["Text"] = ["Layers", "Torch", "Weights"],
        ["Video"] = ["Files", "Torch"],
        ["Autoencoder"] = ["Layers", "Torch", "Weights"],
        ["UNet"] = ["Layers", "Torch", "Weights"],
        ["Diffusion"] = ["Torch"],
        ["Models"] = ["Autoencoder", "Diffusion", "Files", "Text", "Torch", "UNet", "Weights"],
        ["Sampling"] = ["Diffusion", "Models", "Torch", "UNet", "Video"],
        ["Training"] = ["Diffusion", "Distributed", "Files", "Models", "Torch", "Video", "Weights"],
        ["Pipeline"] = ["Distributed", "Files", "Models", "Sampling", "Text", "Torch", "Training", "UNet", "Video", "Weights"],
    };

    /// <summary>The only folders that may import a package's namespace.</summary>
    private static readonly Dictionary<string, string[]> s_packages = new()
    {
        ["FFMpegCore"] = ["Video"],
        ["SkiaSharp"] = ["Video"],
        ["Microsoft.ML.Tokenizers"] = ["Text"],
        ["CsvHelper"] = ["Training"],
        ["Google.Protobuf"] = ["Training"],
        ["Tensorboard"] = ["Training"],
    };

    private static readonly string s_source = Path.Combine(Shared.RepositoryRoot, "src", "Microsoft.ML.Mobius");

    private static readonly (string Folder, string Name, string[] Lines)[] s_files = [.. Directory
        .EnumerateFiles(s_source, "*.cs", SearchOption.AllDirectories)
        .Select(path => Path.GetRelativePath(s_source, path).Replace('\\', '/'))
        .Where(name => !name.StartsWith("obj/", StringComparison.Ordinal) && !name.StartsWith("bin/", StringComparison.Ordinal))
        .Select(name => (name.Split('/')[0], name, File.ReadAllLines(Path.Combine(s_source, name))))];

    [TestMethod]
    public void Folders_AreTheKnownOnes()
        => CollectionAssert.AreEquivalent(s_mayImport.Keys.ToArray(), s_files.Select(file => file.Folder).Distinct().ToArray());

    [TestMethod]
    public void Usings_FollowTheRules()
        => AssertNone(Lines((folder, line) => Using().Match(line) is { Success: true } found && !MayUse(folder, found.Groups[1].Value)));

    [TestMethod]
    public void Namespaces_AreTheFolders()
        => AssertNone(Lines((folder, line) => Namespace().Match(line) is { Success: true } found && (folder == "Pipeline"
            ? found.Groups[1].Value is not ("Microsoft.ML" or "Microsoft.ML.Mobius" or "System.Runtime.CompilerServices")
            : found.Groups[1].Value != "Microsoft.ML.Mobius." + folder)));

    /// <summary>Namespaces around ours are open without a using: there the names of types give the import away.</summary>
    [TestMethod]
    public void TypesOfMLNetAndPipeline_AreNamedInPipelineOnly()
    {
        var ofPipeline = s_files.Where(file => file.Folder == "Pipeline").SelectMany(file => file.Lines)
            .Select(line => Declaration().Match(line)).Where(found => found.Success).Select(found => found.Groups[1].Value);
        var ofMLNet = new[] { typeof(MLContext), typeof(IDataView), typeof(TransformsCatalog) }.SelectMany(type => type.Assembly.GetExportedTypes())
            .Where(type => type.Namespace == "Microsoft.ML").Select(type => type.Name.Split('`')[0]);
        var names = ofPipeline.Concat(ofMLNet).ToHashSet();
        AssertNone(Lines((folder, line) => folder != "Pipeline" && Word().Matches(Code(line)).Any(word => names.Contains(word.Value))));
    }

    /// <summary>Inside Microsoft.ML.Mobius.X the name Y.Type means Microsoft.ML.Mobius.Y.Type without a using.</summary>
    [TestMethod]
    public void QualifiedNames_FollowTheRules()
    {
        var types = typeof(TextToVideoTrainer).Assembly.GetTypes().Select(type => type.FullName!).ToHashSet();
        AssertNone(Lines((folder, line) => !Using().IsMatch(line) && Qualified().Matches(Code(line)).Any(found =>
            types.Contains($"Microsoft.ML.Mobius.{found.Groups[1].Value}.{found.Groups[2].Value}")
            && !MayUse(folder, "Microsoft.ML.Mobius." + found.Groups[1].Value))));
    }

    [TestMethod]
    [DataRow("UNet", "Microsoft.ML.Mobius.Text", false)]
    [DataRow("UNet", "Microsoft.ML.Mobius.Layers", true)]
    [DataRow("Training", "Microsoft.ML.Mobius", false)]
    [DataRow("Training", "Microsoft.ML.Data", false)]
    [DataRow("Text", "Microsoft.ML.Tokenizers", true)]
    [DataRow("Pipeline", "FFMpegCore.Pipes", false)]
    [DataRow("Layers", "System.Text", true)]
    public void MayUse_ExamplesOfTheRules(string folder, string imported, bool expected) => Assert.AreEqual(expected, MayUse(folder, imported));

    private static bool MayUse(string folder, string imported)
    {
        const string Ours = "Microsoft.ML.Mobius";
        foreach (var (package, folders) in s_packages)
            if (imported == package || imported.StartsWith(package + ".", StringComparison.Ordinal))
                return folders.Contains(folder);
        if (imported.StartsWith(Ours + ".", StringComparison.Ordinal))
            return imported.Split('.')[3] is var other && (other == folder || (s_mayImport.GetValueOrDefault(folder)?.Contains(other) ?? false));
        return folder == "Pipeline" || (imported != "Microsoft.ML" && !imported.StartsWith("Microsoft.ML.", StringComparison.Ordinal));
    }

    private static IEnumerable<string> Lines(Func<string, string, bool> breaks)
        => from file in s_files
           from line in file.Lines.Index()
           where breaks(file.Folder, line.Item)
           select $"{file.Name}:{line.Index + 1}: {line.Item.Trim()}";

    private static void AssertNone(IEnumerable<string> lines) => Assert.AreEqual("", string.Join('\n', lines));

    /// <summary>The line without comments and texts.</summary>
    private static string Code(string line) => NotCode().Replace(line, "");

    [GeneratedRegex(@"^\s*(?:global )?using (?:static )?(?:\w+ = )?([A-Z][\w.]*);")]
    private static partial Regex Using();

    [GeneratedRegex(@"^namespace ([\w.]+)")]
    private static partial Regex Namespace();

    [GeneratedRegex(@"^(?:public|internal)[\w ]* (?:class|record|struct|enum|interface) (\w+)")]
    private static partial Regex Declaration();

    [GeneratedRegex(@"(?<![\w.])([A-Z]\w+)\.([A-Z]\w+)")]
    private static partial Regex Qualified();

    [GeneratedRegex(@"(?<![\w.])[A-Z]\w+")]
    private static partial Regex Word();

    [GeneratedRegex(@"""(?:[^""\\]|\\.)*""|//.*$")]
    private static partial Regex NotCode();
}
