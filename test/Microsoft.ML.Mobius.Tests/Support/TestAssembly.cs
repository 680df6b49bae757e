using System.Runtime.CompilerServices;

[assembly: DoNotParallelize]

namespace Microsoft.ML.Mobius.Tests;

[TestClass]
public static class TestAssembly
{
    /// <summary>Touches the library before any test uses TorchSharp on its own, and fixes the thread count: same seed, same bits.</summary>
    [AssemblyInitialize]
    public static void Start(TestContext _)
    {
        RuntimeHelpers.RunModuleConstructor(typeof(Microsoft.ML.Mobius.Torch.NativeLibraryFix).Module.ModuleHandle);
        TorchSharp.torch.set_num_threads(2);
    }
}
