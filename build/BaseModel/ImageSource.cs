using System.Collections.Concurrent;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.BaseModel;

/// <summary>Draws images ahead of the training on one thread of its own, so that the order depends on the seed alone.</summary>
internal sealed class ImageSource : IDisposable
{
    public const int Size = 64;

    private readonly BlockingCollection<(byte[] Pixels, string Caption)> _ahead = new(boundedCapacity: 512);
    private readonly CancellationTokenSource _stop = new();
    private readonly Random _crops;

    /// <param name="seed">Seed of all drawings.</param>
    /// <param name="draw">Draws one image, [64, 64, 3] RGB, and gives its caption.</param>
    public ImageSource(int seed, Func<Random, byte[], string> draw)
    {
        _crops = new Random(seed);
        new Thread(() =>
        {
            var random = new Random(seed);
            try
            {
                while (true)
                {
                    var pixels = new byte[Size * Size * 3];
                    string caption = draw(random, pixels);
                    _ahead.Add((pixels, caption), _stop.Token);
                }
            }
            catch (OperationCanceledException) { }
        }) { IsBackground = true }.Start();
    }

    /// <summary>The next images, [N, 3, 64, 64] in [-1, 1].</summary>
    public Tensor Next(int count) => Next(count, out _);

    /// <summary>Square pieces of the next images, all from the same random place, [N, 3, size, size] in [-1, 1].</summary>
    public Tensor NextCrops(int count, int size)
    {
        using var scope = NewDisposeScope();
        int x = _crops.Next(Size - size + 1), y = _crops.Next(Size - size + 1);
        return Next(count)[.., .., y..(y + size), x..(x + size)].contiguous().MoveToOuterDisposeScope();
    }

    /// <inheritdoc cref="Next(int)"/>
    public Tensor Next(int count, out string[] captions)
    {
        using var scope = NewDisposeScope();
        captions = new string[count];
        var all = new byte[count * Size * Size * 3];
        for (int i = 0; i < count; i++)
        {
            var (pixels, caption) = _ahead.Take();
            pixels.CopyTo(all, i * pixels.Length);
            captions[i] = caption;
        }
        return tensor(all).reshape(count, Size, Size, 3).permute(0, 3, 1, 2).to(ScalarType.Float32).div(127.5).sub(1)
            .contiguous().MoveToOuterDisposeScope();
    }

    public void Dispose() => _stop.Cancel();
}
