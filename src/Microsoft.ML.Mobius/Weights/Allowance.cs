namespace Microsoft.ML.Mobius.Weights;

/// <summary>
/// The memory that the description of one file's tensors may take beside the bytes that it is read from: enough for some ten thousands of
/// tensors, however much the file claims.
/// </summary>
internal sealed class Allowance(string what)
{
    private long _left = 48 << 20;

    /// <summary>Counts what is about to be made, in bytes; somewhat more than it takes.</summary>
    /// <exception cref="InvalidDataException">The file describes more than is allowed.</exception>
    public void Take(long bytes)
    {
        if (bytes > _left)
            throw new InvalidDataException($"{what} describes more, or longer, names and values than the weights of any model have.");
        _left -= bytes;
    }
}
