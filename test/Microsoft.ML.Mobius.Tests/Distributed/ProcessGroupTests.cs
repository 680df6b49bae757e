using Microsoft.ML.Mobius.Distributed;

namespace Microsoft.ML.Mobius.Tests.Distributed;

[TestClass]
public sealed class ProcessGroupTests
{
    [TestMethod]
    public void InTurn_OneProcess_GivesWhatIsMadeAndNotItsBytes()
    {
        object[] made = [new(), new()];
        var given = ProcessGroup.Alone.InTurn(made.Select(one => new Func<object>(() => one)),
            write: _ => throw new AssertFailedException("It was written."), read: _ => throw new AssertFailedException("It was read."));
        CollectionAssert.AreEqual(made, given.ToArray());
    }
}
