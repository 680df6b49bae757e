using Microsoft.ML.Mobius.Sampling;
using Microsoft.ML.Mobius.Torch;
using Microsoft.ML.Mobius.UNet;
using TorchSharp;

namespace Microsoft.ML.Mobius;

public sealed partial class TextToVideoTransformer
{
    private const int BytesOfValue = sizeof(float);

    /// <summary>
    /// What a value that comes and goes takes of the CPU's memory: more than 1 because convolutions order their inputs anew. Besides glibc's allocator holds memory unused, up to
    /// what <see cref="ProcessMemory"/> lets it, and of a small model some times what it needs. An upper bound, by measurements at two sizes of pictures and up to 64 frames.
    /// </summary>
    private const double OfPassingOnCpu = 1.5, UnusedOnCpu = 5;

    /// <summary>Latents of all frames that are there at once: noise, the current ones and the step's next, predictions, their sums over windows and what samplers remember.</summary>
    private const int LatentsAtOnce = 10;

    /// <summary>Whether the CPU computes.</summary>
    internal bool IsOnCpu => _model.Device.type == DeviceType.CPU;

    /// <summary>Says what generating a video will take in memory, without generating any.</summary>
    /// <param name="options">How; the default is null: as <see cref="Generation"/> says. Where they have a MemoryBudget, with what it chooses.</param>
    /// <exception cref="ArgumentException">Options are out of their range, or do not fit their MemoryBudget; the message names all of them.</exception>
    public GenerationEstimate EstimateMemory(GenerationOptions? options = null)
    {
        options ??= Generation;
        Check(options);
        return Estimate(Fitted(options));
    }

    private GenerationEstimate Estimate(GenerationOptions how)
    {
        var (unet, autoencoder) = (_model.UNet.Config, _model.Autoencoder.Config());
        long height = how.Height / _model.Factor, width = how.Width / _model.Factor;
        var pass = new SamplingFootprint(unet, FramesAtOnce(how), height, width, how.SpatialFrameChunk);
        int guided = how.GuidanceScale == 1 ? 1 : 2, passes = how.GuidanceInTurn ? 1 : guided;
        long latents = LatentsAtOnce * unet.InChannels * how.FrameCount * height * width, cached = how.DeepCacheInterval > 1 ? guided * pass.Cached() : 0;
        long picture = Math.Max(autoencoder.DecodedValues(how.Height, how.Width, how.DecodeRows), how.NeedsSource ? autoencoder.EncodedValues(how.Height, how.Width) : 0);
        return new GenerationEstimate(BytesOfValue * ParameterCount, Taken(passes * pass.Peak() + cached) + BytesOfValue * latents, Taken(picture), (long)how.FrameCount * how.Height * how.Width * 3);

        long Taken(long passing)
        {
            double bytes = BytesOfValue * passing;
            return (long)(IsOnCpu ? OfPassingOnCpu * bytes + Math.Min(ProcessMemory.Growth, UnusedOnCpu * bytes) : bytes);
        }
    }

    private static int FramesAtOnce(GenerationOptions how) => how.FrameWindow == 0 ? how.FrameCount : Math.Min(how.FrameWindow, how.FrameCount);

    /// <summary>The options with what fits their budget, of means that change a video by rounding alone: as few of them as will do, and all where none will.</summary>
    private GenerationOptions Fitted(GenerationOptions how)
    {
        if (how.MemoryBudget is not { } budget)
            return how;
        int frames = FramesAtOnce(how), chunk = how.SpatialFrameChunk == 0 ? frames : how.SpatialFrameChunk;
        IEnumerable<int> chunks = Layout == UNetLayout.StreamParallel ? Halves(chunk) : [];
        GenerationOptions[] denoising = [how, how with { GuidanceInTurn = true }, .. chunks.Select(chunk => how with { GuidanceInTurn = true, SpatialFrameChunk = chunk })];
        int[] rows = [how.DecodeRows, .. Halves(how.DecodeRows == 0 ? how.Height : how.DecodeRows).TakeWhile(rows => rows >= 8)];
        var fits = denoising.FirstOrDefault(some => Within(budget, Estimate(some) is var e ? e.Weights + e.Denoising + e.Video : 0)) ?? denoising[^1];
        return rows.Select(rows => fits with { DecodeRows = rows }).FirstOrDefault(some => Within(budget, Estimate(some) is var e ? e.Weights + e.Decoding + e.Video : 0))
            ?? fits with { DecodeRows = rows[^1] };
    }

    /// <summary>Why options do not fit their budget, and what would; null if they do, or have none.</summary>
    private string? OverBudget(GenerationOptions how)
    {
        if (how.MemoryBudget is not { } budget)
            return null;
        GenerationEstimate Least(GenerationOptions some) => Estimate(Fitted(some));
        bool Fits(GenerationOptions some) => Within(budget, Least(some).PeakBytes);
        if (Fits(how))
            return null;

        var windows = Halves(FramesAtOnce(how)).Where(window => window >= 2).Select(window => (Name: $"FrameWindow {window}", How: how with { FrameWindow = window, FrameOverlap = null }));
        var sizes = new[] { 2, 4 }.Select(divisor => (Height: Less(how.Height, divisor), Width: Less(how.Width, divisor)))
            .Select(size => (Name: $"Height {size.Height} and Width {size.Width}", How: how with { Height = size.Height, Width = size.Width }));
        string[] fitting = [.. from way in windows.Where(way => Fits(way.How)).Take(1).Concat(sizes.Where(way => Fits(way.How)).Take(1))
            select FormattableString.Invariant($"{way.Name} ({Least(way.How).PeakBytes >> 20:N0} MiB)")];
        return FormattableString.Invariant($"MemoryBudget is {budget:N0} MiB, but the least that generating takes so is {Least(how)}.")
            + (fitting.Length > 0 ? $" What would fit: {string.Join(", or ", fitting)}." : " No shorter window and no smaller size would fit.");

        int Less(int side, int divisor) => Math.Max(1, side / divisor / _model.Factor) * _model.Factor;
    }

    private static bool Within(int budget, long bytes) => bytes >> 20 <= budget;

    private static IEnumerable<int> Halves(int number)
    {
        for (int half = number / 2; half >= 1; half /= 2)
            yield return half;
    }
}
