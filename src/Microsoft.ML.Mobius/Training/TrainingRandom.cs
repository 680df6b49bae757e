using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Training;

/// <summary>
/// The draws of a training run: a generator for each thing that is drawn, which follows from the seed, what is drawn and its number alone. So a run that is
/// resumed at any step draws what the uninterrupted one does, and no generator's state need be saved.
/// </summary>
internal sealed class TrainingRandom(long seed)
{
    private enum Draw
    {
        Split, Epoch, Batch, Noise, Lora,
    }

    /// <summary>Of the clips that are held out.</summary>
    public Random Split() => Managed(Draw.Split, 0);

    /// <summary>Of the order of an epoch's clips.</summary>
    public Random Epoch(long number) => Managed(Draw.Epoch, number);

    /// <summary>Of a batch's time steps, of the captions that are dropped, and of the frames that are taken as images.</summary>
    public Random Batch(long number) => Managed(Draw.Batch, number);

    /// <summary>Of a batch's latents and noise; the caller's to dispose.</summary>
    public Generator Noise(long number) => new(Key(Draw.Noise, number), CPU);

    /// <summary>Of a LoRA's first weights; the caller's to dispose.</summary>
    public Generator Lora() => new(Key(Draw.Lora, 0), CPU);

    private Random Managed(Draw draw, long number) => new((int)(Key(draw, number) >> 33));

    private ulong Key(Draw draw, long number) => Mix(Mix(Mix((ulong)seed) + (ulong)draw) + (ulong)number);

    /// <summary>The step of SplitMix64 (Steele et al. 2014): inputs that differ in one bit come out as different as any.</summary>
    private static ulong Mix(ulong x)
    {
        x += 0x9E3779B97F4A7C15;
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
        return x ^ (x >> 31);
    }
}
