using System.Collections.Concurrent;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Torch;

/// <summary>
/// Two computations on the CPU at a time, each on half of the threads: one operation of a small network is too little to be shared by all of them.
/// </summary>
internal static class SideBySide
{
    [ThreadStatic] private static bool s_isOther;

    // One thread for good: memory that one thread has freed is not always given to the next, and each would start its own half of the threads.
    private static readonly Lazy<BlockingCollection<Action>> s_other = new(() =>
    {
        var work = new BlockingCollection<Action>();
        var thread = new Thread(() =>
        {
            s_isOther = true;
            foreach (var compute in work.GetConsumingEnumerable())
                compute();
        });
        (thread.IsBackground, thread.Name) = (true, "Mobius side by side");
        thread.Start();
        return work;
    });

    /// <summary>Two parts of a batch without gradients, the results one after the other along the first axis.</summary>
    /// <param name="first">Gives a tensor [N, ..].</param>
    /// <param name="second">Gives a tensor [M, ..].</param>
    /// <param name="inTurn">One after the other, so that what one needs for itself is not needed twice.</param>
    /// <returns>[N + M, ..]; belongs to the caller's scope.</returns>
    public static Tensor Joined(Func<Tensor> first, Func<Tensor> second, bool inTurn = false)
    {
        static Tensor Alone(Func<Tensor> compute)
        {
            using var scope = NewDisposeScope();
            using var _ = no_grad();
            return compute().DetachFromDisposeScope();
        }

        var (one, other) = inTurn ? (Alone(first), Alone(second)) : Run(() => Alone(first), () => Alone(second));
        using (one)
        using (other)
            return cat([one, other], 0);
    }

    /// <summary>Runs both and waits for both; one after the other where there is one thread. The results are the same either way, to the bit.</summary>
    /// <param name="first">Runs in the calling thread.</param>
    /// <param name="second">Runs in another thread, which has gradients switched on and no dispose scope.</param>
    public static (T First, T Second) Run<T>(Func<T> first, Func<T> second)
    {
        int threads = get_num_threads();
        if (threads == 1 || s_isOther)
            return (first(), second());

        T OnHalf(Func<T> compute)
        {
            set_num_threads(threads / 2);
            return compute();
        }

        var other = new Task<T>(() => OnHalf(second));
        s_other.Value.Add(() => other.RunSynchronously(TaskScheduler.Default));
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
