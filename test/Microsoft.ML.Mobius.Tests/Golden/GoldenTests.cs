using System.Reflection;

namespace Microsoft.ML.Mobius.Tests.GoldenCases;

/// <summary>
/// The product against the numbers of the reference implementations: one test per case folder, found by its files, under MOBIUS_GOLDEN (default: the
/// shared golden folder, and where there is none the few cases beside this file). Where MOBIUS_GOLDEN_REPORT names a file, a line per case is added to it.
/// </summary>
[TestClass]
public sealed class GoldenTests
{
    /// <summary>A folder with one of these is a case, even if no kind fits it.</summary>
    private static readonly string[] s_marks = ["case.json", "train.json", "model_index.json", "prompts.json", "io.safetensors"];

    private static string Root
    {
        get
        {
            if (Environment.GetEnvironmentVariable("MOBIUS_GOLDEN") is { Length: > 0 } named)
                return Path.GetFullPath(named);
            string shared = Path.Combine(Shared.Root, "golden");
            return Directory.Exists(shared) ? shared : Fixtures;
        }
    }

    private static string Fixtures => Path.Combine(Shared.RepositoryRoot, "test", "Microsoft.ML.Mobius.Tests", "Golden", "Fixtures");

    public static IEnumerable<object[]> Cases => Find(Root).Order(StringComparer.Ordinal).Select(folder => new object[] { folder });

    public static string NameOf(MethodInfo _, object[] data) => Name((string)data[0]);

    [TestMethod, TestCategory("Golden")]
    [DynamicData(nameof(Cases), DynamicDataDisplayName = nameof(NameOf))]
    public void Case_OfTheReference_IsReproduced(string folder)
    {
        var findings = new Findings();
        try
        {
            using var golden = new Golden(new DirectoryInfo(folder));
            var tolerances = Tolerances.Of(golden);
            var kinds = GoldenKind.All.Where(kind => kind.Fits(golden)).ToList();
            foreach (var kind in kinds)
                kind.Check(golden, tolerances, findings);
            if (kinds.Count == 0)
                findings.Fail("no kind of golden data fits its files");
        }
        catch (Exception e) when (e is not UnitTestAssertException)
        {
            findings.Fail($"{e.GetType().Name}: {e.Message.ReplaceLineEndings(" ")}");
        }

        string line = findings.Line(Name(folder));
        Console.WriteLine(line);
        if (Environment.GetEnvironmentVariable("MOBIUS_GOLDEN_REPORT") is { Length: > 0 } report)
            File.AppendAllText(report, line + "\n");
        if (findings.Failures.Count > 0)
            Assert.Fail($"{line}\n{string.Join('\n', findings.Failures)}");
        if (findings.Lacking.Count > 0)
            Assert.Inconclusive(line);
    }

    private static string Name(string folder) => folder == Root ? Path.GetFileName(folder) : Path.GetRelativePath(Root, folder).Replace('\\', '/');

    /// <summary>The folder, if it is a case; else the cases within it.</summary>
    private static IEnumerable<string> Find(string folder)
    {
        if (s_marks.Any(mark => File.Exists(Path.Combine(folder, mark))) || IsOfAKind(folder))
            return [folder];
        return Directory.EnumerateDirectories(folder).SelectMany(Find);
    }

    private static bool IsOfAKind(string folder)
    {
        using var golden = new Golden(new DirectoryInfo(folder));
        return GoldenKind.All.Any(kind => kind.Fits(golden));
    }
}
