using Microsoft.ML.Mobius.Files;

namespace Microsoft.ML.Mobius.Tests.Files;

[TestClass]
public sealed class FolderLockTests
{
    private readonly TempFolder _folder = new();

    [TestCleanup]
    public void RemoveFolder() => _folder.Dispose();

    [TestMethod]
    public void Constructor_FolderLocked_RefusesAndNamesIt()
    {
        string folder = _folder.File("new");
        using (new FolderLock(folder, "The training folder"))
        {
            var thrown = Assert.ThrowsExactly<InvalidOperationException>(() => new FolderLock(folder, "The training folder"));
            Assert.Contains($"The training folder '{folder}' is in use by another run", thrown.Message);
            using var beside = new FolderLock(_folder.File("other"), "The training folder");
        }
        new FolderLock(folder, "The training folder").Dispose();
    }

    [TestMethod]
    public void Constructor_FileOfAnEarlierRun_DoesNotBlock()
    {
        _folder.File(".lock", "a run that was killed"u8);
        new FolderLock(_folder.Path, "The training folder").Dispose();
    }

    /// <summary>The process that held it is killed: the lock goes with it.</summary>
    [TestMethod]
    public void Constructor_HolderKilled_DoesNotBlock()
    {
        if (!OperatingSystem.IsLinux() || !File.Exists("/usr/bin/flock"))
        {
            Assert.Inconclusive("There is no flock to hold the lock in another process.");
            return;
        }
        string file = _folder.File(".lock", []);
        using var holder = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("/usr/bin/flock", ["-o", file, "sh", "-c", "echo held; exec sleep 600"])
        {
            RedirectStandardOutput = true,
        })!;
        try
        {
            Assert.AreEqual("held", holder.StandardOutput.ReadLine());
            Assert.ThrowsExactly<InvalidOperationException>(() => new FolderLock(_folder.Path, "The training folder"));
        }
        finally
        {
            holder.Kill(entireProcessTree: true);
            holder.WaitForExit();
        }
        new FolderLock(_folder.Path, "The training folder").Dispose();
    }
}
