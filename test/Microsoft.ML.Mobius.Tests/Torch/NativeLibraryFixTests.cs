using System.Security.Cryptography;
using System.Text;
using Microsoft.ML.Mobius.Torch;

namespace Microsoft.ML.Mobius.Tests.Torch;

[TestClass]
public sealed class NativeLibraryFixTests
{
    [TestMethod]
    public void WithWeakVersions_RuntimeDefinesThem_ChangesNothing()
        => Assert.IsNull(NativeLibraryFix.WithWeakVersions(Library(), Runtime("3.4.32")));

    [TestMethod]
    public void WithWeakVersions_RuntimeLacksOne_SetsOneFlag()
    {
        byte[] library = Library(), patched = NativeLibraryFix.WithWeakVersions(library, Runtime("3.4.31"))!;
        int[] changed = [.. Enumerable.Range(0, library.Length).Where(i => library[i] != patched[i])];
        Assert.HasCount(1, changed);
        Assert.AreEqual(library[changed[0]] | 2, patched[changed[0]]);
    }

    [TestMethod]
    public void WithWeakVersions_NoLibrary_GivesNothing()
    {
        Assert.IsNull(NativeLibraryFix.WithWeakVersions([], Runtime("3.4.30")));
        Assert.IsNull(NativeLibraryFix.WithWeakVersions(RandomNumberGenerator.GetBytes(1000), Runtime("3.4.30")));
        Assert.IsNull(NativeLibraryFix.WithWeakVersions(Library(), null));
        byte[] header = [.. "\u007fELF\u0002"u8, .. new byte[100]];
        Assert.IsNull(NativeLibraryFix.WithWeakVersions(header, Runtime("3.4.30")));
        Assert.IsNull(NativeLibraryFix.WithWeakVersions(Library()[..5000], Runtime("3.4.30")));
    }

    [TestMethod]
    public void Library_OfThePackage_IsUntouched()
    {
        // The application's copy is the package's; the weak flag lives in the cache alone.
        TorchSharp.torch.zeros(1).Dispose();
        Assert.IsNotNull(NativeLibraryFix.WithWeakVersions(Library(), Runtime("3.4.31")));
        string package = Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile),
            ".nuget", "packages", "torchsharp", "0.107.0", "runtimes", "linux-x64", "native", "libLibTorchSharp.so");
        if (File.Exists(package))
            Assert.IsTrue(File.ReadAllBytes(package).AsSpan().SequenceEqual(Library()));
    }

    private static byte[] Library()
    {
        string path = Path.Combine(AppContext.BaseDirectory, "runtimes", "linux-x64", "native", "libLibTorchSharp.so");
        if (!File.Exists(path))
            Assert.Inconclusive($"{path} is not there.");
        return File.ReadAllBytes(path);
    }

    /// <summary>What a libstdc++ with the versions 3.4.0 to the last has in its string table.</summary>
    private static byte[] Runtime(string last)
        => Encoding.ASCII.GetBytes("GLIBCXX_3.4\0" + string.Concat(Enumerable.Range(0, int.Parse(last[(last.LastIndexOf('.') + 1)..]) + 1).Select(i => $"GLIBCXX_3.4.{i}\0")));
}
