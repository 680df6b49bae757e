using Microsoft.ML.Mobius.Diffusion;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Torch;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Video;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Sampling;

/// <summary>How a video is generated.</summary>
/// <param name="FrameCount">F.</param>
/// <param name="Height">Pixels, a multiple of the model's factor.</param>
/// <param name="Width">Pixels, a multiple of the model's factor.</param>
/// <param name="FrameRate">Frames per second that the clip is marked with.</param>
/// <param name="Steps">Denoising steps, 1 to 1000.</param>
/// <param name="GuidanceScale">Classifier-free guidance; 1 is none and twice as fast.</param>
/// <param name="GuidanceRescale">How far guidance is kept from raising the prediction's standard deviation, 0 to 1.</param>
/// <param name="Sampler">The method; null for the model's own.</param>
/// <param name="Eta">DDIM's η, 0 to 1.</param>
internal sealed record SamplingSettings(
    int FrameCount, int Height, int Width, double FrameRate, int Steps, double GuidanceScale, double GuidanceRescale = 0,
    SamplerKind? Sampler = null, double Eta = 0)
{
    /// <summary>Whether the first frame follows the last.</summary>
    public bool Loop { get; init; }

    /// <summary>Frames that the model sees at a time; 0 for all.</summary>
    public int FrameWindow { get; init; }

    /// <summary>Frames that a window shares with the one before, 0 to <see cref="FrameWindow"/> - 1.</summary>
    public int FrameOverlap { get; init; }

    /// <summary>Frames that are made first, spread over the video; 0 for none.</summary>
    public int KeyFrames { get; init; }

    /// <summary>Share of the steps that are taken from a source on, above 0; 1 begins with noise alone.</summary>
    public double Strength { get; init; } = 1;

    /// <summary>First frames of a source that stay.</summary>
    public int HeldFrames { get; init; }

    /// <summary>Whether prompts are read with weights.</summary>
    public bool PromptWeights { get; init; }

    /// <summary>Rows that a layer of the autoencoder computes at a time; 0 for all.</summary>
    public int DecodeRows { get; init; }

    /// <summary>Whether the two rows of guidance are computed one after the other.</summary>
    public bool GuidanceInTurn { get; init; }

    /// <summary>Frames that a layer of the spatial stream computes at a time, in StreamParallel; 0 for all.</summary>
    public int SpatialFrameChunk { get; init; }

    /// <summary>Of so many calls of the model in a row only the first computes the inner levels, in StreamParallel.</summary>
    public int DeepCacheInterval { get; init; } = 1;
}

/// <summary>From a caption to pixels: encode the text, start from noise, denoise step by step, decode the frames.</summary>
internal sealed class TextToVideoSampler(TextToVideoModel model)
{
    /// <param name="prompt">What to show; "" for no condition.</param>
    /// <param name="negativePrompt">What to lead away from; "" for plain guidance.</param>
    /// <param name="settings">Size, length and steps.</param>
    /// <param name="seed">Same seed, same video, on every device up to its rounding: the noise is drawn on the CPU.</param>
    /// <param name="progress">Called after every step.</param>
    /// <param name="token">Stops between two steps.</param>
    /// <param name="source">Of the video's size: what it is made of anew, or its first frames; null where the settings ask for none.</param>
    /// <param name="given">The first noise instead of the seed's, [1, c, F, h, w]; empty for the seed's.</param>
    /// <exception cref="InvalidDataException">The model gave a value that is not finite.</exception>
    /// <exception cref="NotSupportedException">The model's scheduler_config.json asks the method for something that it cannot do.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The method cannot take so many steps with this model.</exception>
    public VideoClip Generate(string prompt, string negativePrompt, SamplingSettings settings, long seed, Action<SamplingProgress>? progress = null,
        CancellationToken token = default, VideoClip? source = null, ReadOnlyMemory<float> given = default)
    {
        using var generator = new Generator((ulong)seed, CPU);
        using var scope = NewDisposeScope();
        long[] shape = NoiseShape(settings);
        var noise = model.Schedule.Prior(shape, generator);
        if (!given.IsEmpty)
            noise = tensor(given.ToArray()).reshape(shape);
        return Generate(prompt, negativePrompt, settings, noise, generator, progress, token, source);
    }

    /// <summary>[1, c, F, h, w].</summary>
    public long[] NoiseShape(SamplingSettings settings)
        => [1, model.UNet.Config.InChannels, settings.FrameCount, settings.Height / model.Factor, settings.Width / model.Factor];

    /// <summary>The same, from noise that is given.</summary>
    /// <param name="prompt">What to show; "" for no condition.</param>
    /// <param name="negativePrompt">What to lead away from; "" for plain guidance.</param>
    /// <param name="settings">Steps and guidance; the size is that of the noise.</param>
    /// <param name="noise">Standard normal, [1, c, F, h, w], on any device; not disposed.</param>
    /// <param name="generator">Of the CPU, for the noise that some methods add; null where the method adds none.</param>
    /// <param name="progress">Called after every step.</param>
    /// <param name="token">Stops between two steps.</param>
    /// <param name="source">Of the video's size; null where the settings ask for none.</param>
    /// <exception cref="InvalidDataException">The model gave a value that is not finite.</exception>
    /// <exception cref="NotSupportedException">The model's scheduler_config.json asks the method for something that it cannot do.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The method cannot take so many steps with this model.</exception>
    public VideoClip Generate(
        string prompt, string negativePrompt, SamplingSettings settings, Tensor noise, Generator? generator = null, Action<SamplingProgress>? progress = null,
        CancellationToken token = default, VideoClip? source = null)
    {
        int chunk = model.UNet.SpatialFrameChunk;
        if (settings.SpatialFrameChunk > 0)
            model.UNet.SpatialFrameChunk = settings.SpatialFrameChunk;
        try
        {
            var made = Denoised(prompt, negativePrompt, settings, noise, generator, progress, token, source);
            return settings.Loop && source is null ? LoopStart.Chosen(made) : made;
        }
        finally
        {
            model.UNet.SpatialFrameChunk = chunk;
            model.UNet.LoopFrames(false);
        }
    }

    private VideoClip Denoised(string prompt, string negativePrompt, SamplingSettings settings, Tensor noise, Generator? generator,
        Action<SamplingProgress>? progress, CancellationToken token, VideoClip? source)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();

        var text = model.EncodeText([negativePrompt, prompt], settings.PromptWeights);    // [2, N, D]
        using DeepCache first = new(settings.DeepCacheInterval), second = new(settings.DeepCacheInterval);
        var guided = Guidance.Guided(
            (z, t, text) => Predict(z, t, text, settings, [first, second]), text[..1], text[1..], settings.GuidanceScale, settings.GuidanceRescale);
        var sampler = SamplerChoice.Of(settings.Sampler, model.Schedule.Config, settings.Eta);
        int frames = (int)noise.shape[2], calls = sampler.Timesteps(model.Schedule, settings.Steps).Count, told = 0;
        int Taken(double share) => share == 1 ? calls : Math.Max(1, (int)Math.Round(share * calls));
        int all = settings.KeyFrames > 0 ? calls + Taken(KeyFrames.RefinedShare) : Taken(settings.Strength);
        Tensor? clean = null;

        Tensor AllFrames(Tensor latents) => latents.shape[2] == frames ? latents : KeyFrames.Between(latents, frames, settings.Loop);
        VideoClip Decoded(Tensor latents) => Decode(latents, settings.FrameRate, prompt, settings.DecodeRows);

        Tensor Sampled(Tensor noise, Tensor? start, double share)
        {
            int length = (int)noise.shape[2];
            first.Clear();
            second.Clear();
            model.UNet.LoopFrames(settings.Loop && (settings.FrameWindow == 0 || settings.FrameWindow >= length));
            var denoise = FrameWindows.Over(guided, length, settings.FrameWindow, settings.FrameOverlap, settings.Loop);
            if (settings.HeldFrames > 0)
                denoise = HeldFrames.Holding(denoise, model.Schedule, Encode(source!, settings.HeldFrames));

            Tensor Watched(Tensor z, double t)
            {
                token.ThrowIfCancellationRequested();
                var prediction = denoise(z, t);
                if (progress is not null)
                {
                    clean?.Dispose();
                    clean = model.Schedule.CleanOf(prediction, z, NoiseLevel.OfRatio(model.Schedule.Sigma(t))).MoveToOtherDisposeScope(scope);
                }
                return prediction;
            }

            Func<Tensor>? draw = generator is null ? null : () => model.Schedule.Prior(noise.shape, generator).OnDevice(model.Device);
            return sampler.Sample(Watched, model.Schedule, noise.OnDevice(model.Device), settings.Steps, draw, _ =>
            {
                if (progress is null)
                    return;
                var report = new SamplingProgress(++told, all, () => Decoded(AllFrames(clean!)));
                progress(report);
                report.End();
            }, start is null ? null : (start, calls - Taken(share)));
        }

        if (settings.KeyFrames > 0)
            return Decoded(Sampled(noise, AllFrames(Sampled(noise.narrow(2, 0, settings.KeyFrames), start: null, share: 1)), KeyFrames.RefinedShare));
        return Decoded(Sampled(noise, settings.Strength < 1 ? Encode(source!, frames) : null, settings.Strength));
    }

    private Tensor Predict(Tensor z, double t, Tensor text, SamplingSettings settings, DeepCache[] caches)
    {
        Tensor Rows(Range rows, DeepCache cache)
        {
            var part = z[rows];
            var times = full([part.shape[0]], t, ScalarType.Float32, device: model.Device);
            return settings.DeepCacheInterval == 1 ? model.UNet.call(part, times, text[rows])
                : ((StreamParallelUNet)model.UNet).Forward(part, times, text[rows], cache);
        }

        bool onCpu = model.Device.type == DeviceType.CPU;
        if (z.shape[0] == 1 || (!onCpu && !settings.GuidanceInTurn))
            return Rows(.., caches[0]);
        return SideBySide.Joined(() => Rows(..1, caches[0]), () => Rows(1.., caches[1]), settings.GuidanceInTurn);
    }

    /// <summary>The first frames of a clip -> the means of their latents, [1, c, frames, h, w]; frame by frame.</summary>
    /// <exception cref="InvalidDataException">They are not finite.</exception>
    private Tensor Encode(VideoClip clip, int frames)
    {
        using var scope = NewDisposeScope();
        var latents = stack([.. Enumerable.Range(0, frames).Select(f => Encode(clip, clip.Frame(f)))], 2);
        return latents.isfinite().all().item<bool>() ? latents.MoveToOuterDisposeScope()
            : throw new InvalidDataException($"The autoencoder makes latents that are not finite of {clip}{(clip.Source is { } file ? $" of '{file}'" : "")}.");
    }

    private Tensor Encode(VideoClip clip, ReadOnlySpan<byte> frame)
    {
        using var scope = NewDisposeScope();
        var image = tensor(frame.ToArray(), device: model.Device).reshape(1, clip.Height, clip.Width, 3).permute(0, 3, 1, 2)
            .to(ScalarType.Float32).div(127.5).sub(1).contiguous();                       // [1, 3, H, W]
        return model.Autoencoder.Encode(image).MoveToOuterDisposeScope();
    }

    /// <summary>[1, c, F, h, w] -> a clip; frame by frame, so that one frame's activations are the peak.</summary>
    /// <param name="latents">z_0.</param>
    /// <param name="frameRate">Of the clip.</param>
    /// <param name="prompt">For messages.</param>
    /// <param name="rows">Rows that a layer computes at a time; 0 for all.</param>
    /// <exception cref="InvalidDataException">It is not finite.</exception>
    public VideoClip Decode(Tensor latents, double frameRate, string prompt, int rows = 0)
    {
        using var _ = no_grad();
        int frames = (int)latents.shape[2];
        byte[] pixels = [];
        long height = 0, width = 0;
        bool onCpu = latents.device_type == DeviceType.CPU;
        if (onCpu)
            ProcessMemory.ReturnUnused();                                                 // what denoising took and nobody needs now
        for (int f = 0; f < frames; f++)
        {
            using var scope = NewDisposeScope();
            var image = model.Autoencoder.Decode(latents[.., .., f], rows);               // [1, 3, H, W]
            if (!image.isfinite().all().item<bool>())
                throw new InvalidDataException($"Frame {f} of the video for '{prompt}' has values that are not finite: the model's weights are damaged.");
            var bytes = image.add(1).mul(127.5).round().clamp(0, 255).to(ScalarType.Byte)[0].permute(1, 2, 0).contiguous().cpu();
            (height, width) = (bytes.shape[0], bytes.shape[1]);
            if (f == 0)
                pixels = new byte[frames * height * width * 3];
            bytes.bytes.CopyTo(pixels.AsSpan((int)(f * height * width * 3)));
            if (onCpu)
                ProcessMemory.ReturnUnusedIfGrown();
        }
        return VideoClip.Owning(pixels, frames, (int)height, (int)width, frameRate);
    }
}
