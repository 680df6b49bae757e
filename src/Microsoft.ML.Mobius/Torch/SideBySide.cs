using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Torch;

/// <summary>
/// Two computations on the CPU at a time, each on half of the threads: one operation of a small network is too little to be shared by all of them.
/// </summary>
internal static class SideBySide
{
    /// <summary>Runs both and waits for both; one after the other where there is one thread. The results are the same either way, to the bit.</summary>
    /// <param name="first">Runs in the calling thread.</param>
    /// <param name="second">Runs in a thread of its own, which has gradients switched on and no dispose scope.</param>
    public static (T First, T Second) Run<T>(Func<T> first, Func<T> second)
    {
        int threads = get_num_threads();
        if (threads == 1)
            return (first(), second());

        T OnHalf(Func<T> compute)
        {
            set_num_threads(threads / 2);
            return compute();
        }

        var other = Task.Factory.StartNew(() => OnHalf(second), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        try
        {
            return (OnHalf(first), other.GetAwaiter().GetResult());
        }
        finally
        {
            Task.WaitAny(other);                                                          // whatever became of it
            set_num_threads(threads);
        }
    }
}
