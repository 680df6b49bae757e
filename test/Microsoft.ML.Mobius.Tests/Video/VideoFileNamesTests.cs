using System.Text;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Tests.Video;

[TestClass]
public sealed class VideoFileNamesTests
{
    [TestMethod]
    [DataRow("A red circle, growing!", "a-red-circle-growing-7")]
    [DataRow("../..\\up: <\"x\"|?*>\0\n", "up-x-7")]
    [DataRow("CON", "con-7")]
    [DataRow("  .hidden. ", "hidden-7")]
    [DataRow("", "video-7")]
    [DataRow("🦊", "video-7")]
    [DataRow("Füchse im Schnee", "füchse-im-schnee-7")]
    public void Next_AnyPrompt_IsAFileNameEverywhere(string prompt, string expected)
        => Assert.AreEqual(expected, new VideoFileNames().Next(prompt, 7));

    [TestMethod]
    public void Next_PromptsThatDifferInSignsAlone_HaveNamesOfTheirOwn()
    {
        var names = new VideoFileNames();
        CollectionAssert.AreEqual(new[] { "a-b-1", "a-b-1-2", "a-b-2", "a-b-1-3" },
            new[] { names.Next("a b", 1), names.Next("A, B", 1), names.Next("a b", 2), names.Next("a b", 1) });
    }

    [TestMethod]
    public void Next_LongPrompt_FitsIntoADirectory()
    {
        string name = new VideoFileNames().Next(string.Concat(Enumerable.Repeat("狐狸 ", 200)), long.MinValue);
        Assert.IsLessThan(200, Encoding.UTF8.GetByteCount(name));
        Assert.EndsWith("-9223372036854775808", name);
    }
}
