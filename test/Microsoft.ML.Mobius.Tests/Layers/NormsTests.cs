using Microsoft.ML.Mobius.Layers;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Layers;

[TestClass]
public sealed class NormsTests
{
    [TestMethod]
    public void Group_New_StartsAsWeightOneAndBiasZero()
    {
        for (int i = 0; i < 20; i++)
        {
            using var norm = Norms.Group(2, 64, 1e-5);
            using var scope = NewDisposeScope();
            Close.Assert(ones(64), norm.weight!, 0);
            Close.Assert(zeros(64), norm.bias!, 0);
        }
    }

    [TestMethod]
    public void Group_UnevenSplit_IsRefused() => Assert.ThrowsExactly<ArgumentException>(() => Norms.Group(3, 64, 1e-5));

    [TestMethod]
    public void GroupNorm_InTheSources_IsBuiltInOnePlace()
    {
        string[] builders = [.. Directory.EnumerateFiles(Path.Combine(Shared.RepositoryRoot, "src"), "*.cs", SearchOption.AllDirectories)
            .Where(file => !file.Contains($"{Path.DirectorySeparatorChar}obj{Path.DirectorySeparatorChar}") && File.ReadAllText(file).Contains("GroupNorm("))
            .Select(file => Path.GetFileName(file))];
        CollectionAssert.AreEqual(new[] { "Norms.cs" }, builders);
    }
}
