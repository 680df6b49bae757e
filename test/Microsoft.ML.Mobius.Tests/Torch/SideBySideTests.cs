using Microsoft.ML.Mobius.Torch;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Torch;

[TestClass]
public sealed class SideBySideTests
{
    [TestMethod]
    public void Run_TwoThreads_MeetAndEachHaveHalf()
    {
        using var meeting = new Barrier(2);
        (int Thread, int Threads) Meet()
        {
            Assert.IsTrue(meeting.SignalAndWait(TimeSpan.FromMinutes(1)), "The other never came: they do not run side by side.");
            return (Environment.CurrentManagedThreadId, get_num_threads());
        }

        int before = get_num_threads();
        var (first, second) = SideBySide.Run(Meet, Meet);

        Assert.AreEqual(Environment.CurrentManagedThreadId, first.Thread);
        Assert.AreNotEqual(first.Thread, second.Thread);
        Assert.AreEqual((before / 2, before / 2), (first.Threads, second.Threads));
        Assert.AreEqual(before, get_num_threads());
    }

    [TestMethod]
    [DataRow(true)]
    [DataRow(false)]
    public void Run_OneFails_ThrowsThatAfterBothAreDone(bool firstFails)
    {
        int done = 0, before = get_num_threads();
        int Fail() => throw new InvalidDataException("this one");
        int Work()
        {
            Thread.Sleep(50);
            return Interlocked.Increment(ref done);
        }

        var error = Assert.ThrowsExactly<InvalidDataException>(() => firstFails ? SideBySide.Run(Fail, Work) : SideBySide.Run(Work, Fail));

        Assert.AreEqual("this one", error.Message);
        Assert.AreEqual(1, done);
        Assert.AreEqual(before, get_num_threads());
    }

    [TestMethod]
    public void Run_OneThread_RunsOneAfterTheOther()
    {
        int before = get_num_threads();
        set_num_threads(1);
        try
        {
            int here = Environment.CurrentManagedThreadId;
            Assert.AreEqual((here, here), SideBySide.Run(() => Environment.CurrentManagedThreadId, () => Environment.CurrentManagedThreadId));
        }
        finally
        {
            set_num_threads(before);
        }
    }
}
