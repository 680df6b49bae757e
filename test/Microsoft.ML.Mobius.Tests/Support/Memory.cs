namespace Microsoft.ML.Mobius.Tests;

internal static class Memory
{
    /// <summary>Bytes resident now, managed garbage collected first.</summary>
    public static long Resident()
    {
        for (int i = 0; i < 2; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        using var process = System.Diagnostics.Process.GetCurrentProcess();
        return process.WorkingSet64;
    }
}
