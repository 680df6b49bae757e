using Microsoft.ML.Mobius.Sampling;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Sampling;

[TestClass]
public sealed class KeyFramesTests
{
    [TestMethod]
    [DataRow(false, new[] { 0f, 1, 2, 3, 6 }, 7, new[] { 0f, 2f / 3, 4f / 3, 2, 8f / 3, 4, 6 })]
    [DataRow(true, new[] { 0f, 4, 8 }, 6, new[] { 0f, 2, 4, 6, 8, 4 })]
    [DataRow(false, new[] { 1f, 5 }, 5, new[] { 1f, 2, 3, 4, 5 })]
    public void Between_Keys_IsLinear(bool loop, float[] keys, int frames, float[] expected)
    {
        using var scope = NewDisposeScope();
        var all = KeyFrames.Between(tensor(keys).reshape(1, 1, -1, 1, 1), frames, loop);
        Close.Assert(tensor(expected), all.flatten(), 1e-5);
    }
}
