namespace Microsoft.ML.Mobius.Training;

/// <summary>
/// Which clips a batch has: every clip once per epoch, in a new order each time. The position in the data is the batch's number, counted from 0.
/// </summary>
/// <remarks>
/// Where all clips are of one shape a batch may run over into the next epoch. Otherwise the clips of each shape are dealt out to batches, of which the last
/// may be smaller, and the batches of all shapes are shuffled.
/// </remarks>
/// <param name="shapes">The clips of each shape, at least one.</param>
/// <param name="random">Draws the orders.</param>
internal sealed class ClipOrder(IReadOnlyList<int[]> shapes, TrainingRandom random)
{
    private int[] _order = [];
    private int[][] _batches = [];
    private long _epoch = -1;

    public int[] Batch(long number, int size) => shapes.Count == 1 ? OverEpochs(number, size) : OfOneShape(number, size);

    /// <summary>The clips of a batch that takes as much as any; nothing is drawn.</summary>
    /// <param name="size">Clips per batch.</param>
    /// <param name="values">What a clip takes, the same for all of a shape.</param>
    public int[] Largest(int size, Func<int, long> values) => shapes
        .Select(clips => shapes.Count == 1 ? [.. Enumerable.Range(0, size).Select(i => clips[i % clips.Length])] : clips[..Math.Min(size, clips.Length)])
        .MaxBy(batch => batch.Length * values(batch[0]))!;

    private int[] OverEpochs(long number, int size)
    {
        var batch = new int[size];
        for (int i = 0; i < size; i++)
        {
            var (epoch, at) = Math.DivRem(number * size + i, shapes[0].Length);
            if (epoch != _epoch)
            {
                (_order, _epoch) = ([.. shapes[0]], epoch);
                random.Epoch(epoch).Shuffle(_order);
            }
            batch[i] = _order[at];
        }
        return batch;
    }

    private int[] OfOneShape(long number, int size)
    {
        var (epoch, at) = Math.DivRem(number, shapes.Sum(clips => (clips.Length + size - 1) / size));
        if (epoch != _epoch)
        {
            var draw = random.Epoch(epoch);
            int[][] orders = [.. shapes.Select(clips => clips.ToArray())];
            foreach (int[] order in orders)
                draw.Shuffle(order);
            (_batches, _epoch) = ([.. orders.SelectMany(order => order.Chunk(size))], epoch);
            draw.Shuffle(_batches);
        }
        return _batches[at];
    }
}
