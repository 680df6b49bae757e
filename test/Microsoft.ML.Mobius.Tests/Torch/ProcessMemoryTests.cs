using Microsoft.ML.Mobius.Torch;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Torch;

[TestClass]
public sealed class ProcessMemoryTests
{
    [TestMethod]
    [OSCondition(OperatingSystems.Linux)]
    [DataRow(false)]
    [DataRow(true)]
    public void ReturnUnused_HolesBetweenTensors_AreNoLongerResident(bool ifGrown)
    {
        ProcessMemory.ReturnUnused();                                                     // or tensors would take what other tests have left, and memory not grow
        ProcessMemory.ReturnUnusedIfGrown();
        const int count = 8192, values = 16 << 10;                                        // 64 KiB each: too few for the allocator to ask the system for each of them
        Tensor[] tensors = [.. Enumerable.Range(0, count).Select(_ => zeros(values))];
        try
        {
            foreach (var tensor in tensors.Where((_, i) => i % 8 != 0))
                tensor.Dispose();
            long before = Memory.Resident();
            if (ifGrown)
                ProcessMemory.ReturnUnusedIfGrown();
            else
                ProcessMemory.ReturnUnused();
            Assert.IsGreaterThan(count * values * sizeof(float) / 2, before - Memory.Resident());
            Assert.IsTrue(tensors.Where((_, i) => i % 8 == 0).All(tensor => tensor.count_nonzero().item<long>() == 0), "What was in use is lost.");
        }
        finally
        {
            foreach (var tensor in tensors)
                tensor.Dispose();
        }
    }
}
