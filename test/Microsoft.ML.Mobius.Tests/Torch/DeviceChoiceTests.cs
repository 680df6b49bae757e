using Microsoft.ML.Mobius.Torch;
using TorchSharp;

namespace Microsoft.ML.Mobius.Tests.Torch;

[TestClass]
public sealed class DeviceChoiceTests
{
    private readonly List<string> _warnings = [];

    [TestMethod]
    public void Resolve_NoGpuAskedFor_IsCpu()
    {
        Assert.AreEqual(DeviceType.CPU, DeviceChoice.Resolve(null, fallbackToCpu: false, _warnings.Add).type);
        Assert.IsEmpty(_warnings);
    }

    [TestMethod]
    [DataRow(3, 0, "no CUDA device")]
    [DataRow(3, 1, "is one CUDA device, with the id 0")]
    [DataRow(3, 2, "ids 0 to 1")]
    [DataRow(-1, 2, "ids 0 to 1")]
    public void Resolve_GpuNotThere_SaysWhatIsThereAndBothWaysOut(int gpu, int there, string said)
    {
        var error = Assert.ThrowsExactly<InvalidOperationException>(() => DeviceChoice.Resolve(gpu, false, _warnings.Add, there));

        foreach (string part in new[] { $"GPU {gpu}", said, "FallbackToCpu = true", "MobiusTorch=cuda-linux" })
            Assert.Contains(part, error.Message);
    }

    [TestMethod]
    public void Resolve_GpuNotThereButMayFallBack_WarnsOnce()
    {
        Assert.AreEqual(DeviceType.CPU, DeviceChoice.Resolve(1, true, _warnings.Add, 1).type);
        Assert.HasCount(1, _warnings);
        Assert.Contains("GPU 1", _warnings[0]);
    }

    [TestMethod]
    public void Resolve_GpuOfThisMachine_IsItOrAnError()
    {
        if (torch.cuda.is_available())
            Assert.AreEqual(DeviceType.CUDA, DeviceChoice.Resolve(0, false, _warnings.Add).type);
        else
            Assert.ThrowsExactly<InvalidOperationException>(() => DeviceChoice.Resolve(0, false, _warnings.Add));
    }
}
