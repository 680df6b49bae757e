using Microsoft.ML.Mobius.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Torch;

[TestClass]
public sealed class OneDnnFixTests
{
    // "Auth" "enti" "cAMD" as CPUID gives it, in ebx, edx and ecx; "Genu" "ineI" "ntel".
    private static readonly (int, int, int, int) s_amd = (16, 0x68747541, 0x444D4163, 0x69746E65), s_intel = (16, 0x756E6547, 0x6C65746E, 0x49656E69);

    [TestMethod]
    [DataRow(true, 0x80000021u, 0, true, DisplayName = "AMD without caches")]
    [DataRow(true, 0x80000021u, 0x121, false, DisplayName = "AMD with a data cache of level 1")]
    [DataRow(true, 0x80000008u, 0x121, true, DisplayName = "AMD that has no such leaf")]
    [DataRow(false, 0x80000008u, 0, false, DisplayName = "Intel")]
    public void HidesCaches_OfAProcessor_OnlyWhereOneDnnIsMisled(bool isAmd, uint last, int firstCache, bool hides)
        => Assert.AreEqual(hides, OneDnnFix.HidesCaches((leaf, _) => unchecked((uint)leaf) switch
        {
            0 => isAmd ? s_amd : s_intel, 0x80000000 => (unchecked((int)last), 0, 0, 0), _ => (firstCache, 0, 0, 0),
        }));

    [TestMethod]
    public void HidesCaches_NoCpuId_No() => Assert.IsFalse(OneDnnFix.HidesCaches(null));

    [TestMethod]
    public void Works_LoadedBeforeAnythingConvolved_IsSo()
    {
        OneDnnFix.Check();
        Assert.IsTrue(OneDnnFix.Works);
    }

    [TestMethod]
    [DataRow(28, 28, 3, 1, 1, DisplayName = "28 to 28, over frames")]
    [DataRow(12, 20, 3, 3, 1, DisplayName = "12 to 20")]
    [DataRow(32, 4, 3, 3, 1, DisplayName = "32 to 4, as heads")]
    [DataRow(48, 16, 3, 3, 2, DisplayName = "48 to 16, halving an odd height")]
    public void Convolution_WhereOneDnnMayBeMisled_OutputAndGradientsAreRight(int from, int to, int height, int width, int stride)
    {
        using var scope = NewDisposeScope();
        manual_seed(1);
        var (x, weight, gradient) = (randn([4, from, 9, 16]), randn([to, from, height, width]), randn([4, to, (9 + stride - 1) / stride, 16 / stride]));
        Tensor[] Results(ScalarType type)
        {
            var (input, kernel) = (x.to(type).detach().requires_grad_(true), weight.to(type).detach().requires_grad_(true));
            var output = nn.functional.conv2d(input, kernel, padding: [height / 2, width / 2], strides: [stride, stride]);
            output.backward([gradient.to(type)]);
            return [output, input.grad!, kernel.grad!];
        }

        foreach (var (exact, got) in Results(ScalarType.Float64).Zip(Results(ScalarType.Float32)))
            Assert.IsLessThan(1e-5, ((got - exact).abs().max() / exact.abs().max()).item<double>());
    }
}
