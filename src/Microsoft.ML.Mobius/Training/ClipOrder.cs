namespace Microsoft.ML.Mobius.Training;

/// <summary>
/// Which clips a batch has: every clip once per epoch, in a new order each time; a batch may run over into the next epoch. The position in the data is the
/// batch's number, counted from 0.
/// </summary>
internal sealed class ClipOrder(int[] clips, TrainingRandom random)
{
    private int[] _order = [];
    private long _epoch = -1;

    public int[] Batch(long number, int size)
    {
        var batch = new int[size];
        for (int i = 0; i < size; i++)
        {
            var (epoch, at) = Math.DivRem(number * size + i, clips.Length);
            if (epoch != _epoch)
            {
                (_order, _epoch) = ([.. clips], epoch);
                random.Epoch(epoch).Shuffle(_order);
            }
            batch[i] = _order[at];
        }
        return batch;
    }
}
