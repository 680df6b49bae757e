using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.GoldenCases;

/// <summary>That the runner of golden cases can fail, and reads what is allowed.</summary>
[TestClass]
public sealed class GoldenRunnerTests
{
    private static string Fixtures => Path.Combine(Shared.RepositoryRoot, "test", "Microsoft.ML.Mobius.Tests", "Golden", "Fixtures");

    [TestMethod]
    [DataRow("unet2d_sd15", nameof(ImageUNetKind))]
    [DataRow("pipeline_sd", nameof(InflationKind))]
    [DataRow("clip_text_sd15", nameof(TextEncoderKind))]
    public void Fits_Fixture_IsOfOneKind(string name, string kind)
    {
        using var golden = new Golden(new DirectoryInfo(Path.Combine(Fixtures, name)));
        Assert.AreEqual(kind, GoldenKind.All.Single(one => one.Fits(golden)).GetType().Name);
    }

    [TestMethod]
    public void Check_OutputsOfOtherWeights_Fail()
    {
        using var golden = new Golden(new DirectoryInfo(Path.Combine(Fixtures, "clip_text_sd15")));
        using (no_grad())
            golden.Io["last_hidden_state"][0, 0, 0].add_(1e-3);
        var findings = new Findings();
        new TextEncoderKind().Check(golden, Tolerances.Of(golden), findings);
        Assert.AreEqual("fail", findings.Status);
        Assert.HasCount(1, findings.Failures);
        StringAssert.Contains(findings.Line("a case"), "last_hidden_state is 1.0e-03 apart, 2.0e-05 allowed");
    }

    [TestMethod]
    [DataRow("Tolerance: outputs 2e-4, gradients rel 1e-3.", "outputs max abs,outputs", 2e-4)]
    [DataRow("Tolerance: outputs 2e-4, gradients rel 1e-3.", "gradients rel", 1e-3)]
    [DataRow("Tolerance: outputs 2e-4, gradients rel 1e-3.", "losses rel", 7)]
    [DataRow("Tolerance to use: outputs max abs 3e-4 / rel 1e-4 (float32); gradient norms rel 5e-3 (float64 2e-06).", "norms rel", 5e-3)]
    [DataRow("# Accuracy and tolerances\nReload 0. Suggested: outputs max abs <= 1e-4; loss rel 1e-5", "outputs max abs", 1e-4)]
    [DataRow("Tolerance: latents max abs 0.003; video the same.\n\n| tensor | max abs 9 |", "max abs", 0.003)]
    [DataRow("Nothing is said.", "max abs", 7)]
    public void Tolerances_OfAReadme_AreItsNumbers(string readme, string words, double expected)
        => Assert.AreEqual(expected, new Tolerances(readme).Of(7, words.Split(',')));

    [TestMethod]
    public void Findings_OfEachKind_HaveTheirStatus()
    {
        using var one = ones(2);
        using var nan = full(2, double.NaN);
        Assert.AreEqual("fail", new Findings().Status, "Nothing was compared.");
        Assert.AreEqual("pass", After(findings => findings.Within("x", one, one, 0)).Status);
        Assert.AreEqual("fail", After(findings => findings.Within("x", one, nan, 1)).Status);
        Assert.AreEqual("fail", After(findings => findings.Within("x", one, one[..1], 1)).Status);
        Assert.AreEqual("not yet", After(findings => findings.NotYet("x")).Status);
        Assert.AreEqual("fail", After(findings =>
        {
            findings.NotYet("x");
            findings.Within("y", 1.0, 1.1, 0.01);
        }).Status);
        Assert.AreEqual(0.1, After(findings => findings.Within("y", 2.0, 2.2, 1)).Worst, 1e-12);

        static Findings After(Action<Findings> compare)
        {
            var findings = new Findings();
            compare(findings);
            return findings;
        }
    }
}
