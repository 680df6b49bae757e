namespace Microsoft.ML.Mobius.Tests;

internal static class Memory
{
    /// <summary>Tensors alive now, forgotten ones collected first.</summary>
    public static long Tensors()
    {
        Collect();
        return TorchSharp.torch.Tensor.TotalCount;
    }

    /// <summary>Bytes resident now, managed garbage collected first.</summary>
    public static long Resident()
    {
        Collect();
        using var process = System.Diagnostics.Process.GetCurrentProcess();
        return process.WorkingSet64;
    }

    private static void Collect()
    {
        for (int i = 0; i < 2; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
    }
}
