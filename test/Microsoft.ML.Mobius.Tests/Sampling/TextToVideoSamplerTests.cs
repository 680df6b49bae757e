using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.Diffusion;
using Microsoft.ML.Mobius.Sampling;
using Microsoft.ML.Mobius.Text;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Video;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Sampling;

[TestClass]
public sealed class TextToVideoSamplerTests
{
    private static readonly SamplingSettings Small = new(FrameCount: 3, Height: 16, Width: 12, FrameRate: 8, Steps: 2, GuidanceScale: 3);

    [TestMethod]
    public void Generate_SameSeed_GivesTheSameClip()
    {
        using var model = Tiny.Video();
        var sampler = new TextToVideoSampler(model);
        var clip = sampler.Generate("a", "", Small, 1);
        Assert.AreEqual((3, 16, 12, 8.0), (clip.FrameCount, clip.Height, clip.Width, clip.FrameRate));
        Assert.IsTrue(clip.Pixels.Span.SequenceEqual(sampler.Generate("a", "", Small, 1).Pixels.Span));
        Assert.IsFalse(clip.Pixels.Span.SequenceEqual(sampler.Generate("a", "", Small, 2).Pixels.Span));
    }

    [TestMethod]
    public void Generate_EverySampler_GivesItsOwnClipAndTellsItsCalls()
    {
        using var model = Tiny.Video();
        var sampler = new TextToVideoSampler(model);
        var own = sampler.Generate("a", "", Small with { Steps = 4 }, 1);
        foreach (var kind in Enum.GetValues<SamplerKind>())
        {
            var told = new List<(int, int)>();
            VideoClip Generate() => sampler.Generate("a", "", Small with { Steps = 4, Sampler = kind }, 1, at => told.Add((at.Step, at.Steps)));
            var clip = Generate();
            int calls = kind == SamplerKind.Pndm ? 3 * 4 + 1 : 4;                          // its first three steps are Runge and Kutta's
            CollectionAssert.AreEqual(Enumerable.Range(1, calls).Select(i => (i, calls)).ToArray(), told, $"{kind}");
            Assert.AreEqual(kind == SamplerKind.Ddim, clip.Pixels.Span.SequenceEqual(own.Pixels.Span), $"{kind}");
            Assert.IsTrue(clip.Pixels.Span.SequenceEqual(Generate().Pixels.Span), $"{kind}: another clip with the same seed.");
        }
    }

    [TestMethod]
    public void Generate_GuidanceRescaled_GivesAnotherClip()
    {
        using var model = Tiny.Video();
        var sampler = new TextToVideoSampler(model);
        VideoClip Generate(double rescale) => sampler.Generate("a", "", Small with { GuidanceScale = 9, GuidanceRescale = rescale }, 1);
        Assert.IsFalse(Generate(0).Pixels.Span.SequenceEqual(Generate(1).Pixels.Span));
    }

    private static IEnumerable<object[]> Ways =>
    [
        [Small with { Loop = true }], [Small with { FrameWindow = 2, FrameOverlap = 1 }], [Small with { Strength = 0.5 }], [Small with { HeldFrames = 1 }],
        [Small with { PromptWeights = true }], [Small with { KeyFrames = 2 }], [Small with { DeepCacheInterval = 2 }],
    ];

    [TestMethod]
    [DynamicData(nameof(Ways))]
    public void Generate_EveryWay_GivesItsOwnClipTheSameAgainAndKeepsNoTensors(object way)
    {
        using var model = Tiny.Video(told: true);
        using (no_grad())
            foreach (var parameter in model.UNet.Temporal.parameters())
                parameter.add_(0.05 * randn_like(parameter));                             // untrained, frames do not count for each other
        var (sampler, settings) = (new TextToVideoSampler(model), (SamplingSettings)way);
        VideoClip Generate(SamplingSettings settings) => sampler.Generate("(a:3) b", "", settings, 1, source: SmallVideos.Gradient(3, 16, 12));
        var clip = Generate(settings);
        long before = Memory.Tensors();
        Assert.IsTrue(clip.Pixels.Span.SequenceEqual(Generate(settings).Pixels.Span));
        Assert.AreEqual(before, TorchSharp.torch.Tensor.TotalCount);
        Assert.AreEqual((3, 16, 12), (clip.FrameCount, clip.Height, clip.Width));
        Assert.IsFalse(clip.Pixels.Span.SequenceEqual(Generate(Small).Pixels.Span));
    }

    [TestMethod]
    public void Generate_SavingMemory_IsTheSame()
    {
        using var model = Tiny.Learnt(UNetLayout.StreamParallel);
        var sampler = new TextToVideoSampler(model);
        var made = sampler.Generate("a", "", Small, 1);
        Assert.IsTrue(made.Pixels.Span.SequenceEqual(sampler.Generate("a", "", Small with { GuidanceInTurn = true }, 1).Pixels.Span));
        Assert.IsGreaterThan(50, SmallVideos.Psnr(made, sampler.Generate("a", "", Small with { SpatialFrameChunk = 2 }, 1)));
        Assert.AreEqual(0, model.UNet.SpatialFrameChunk);
    }

    [TestMethod]
    public void Generate_KeyFrames_TellsTheStepsOfBothPartsAndShowsAllFrames()
    {
        using var model = Tiny.Video();
        var told = new List<(int, int, int)>();
        var how = Small with { FrameCount = 6, FrameWindow = 3, FrameOverlap = 1, KeyFrames = 3, Steps = 10 };
        new TextToVideoSampler(model).Generate("a", "", how, 1, at => told.Add((at.Step, at.Steps, at.Preview().FrameCount)));
        CollectionAssert.AreEqual(Enumerable.Range(1, 12).Select(i => (i, 12, 6)).ToArray(), told);
    }

    [TestMethod]
    public void Generate_AfterALoop_IsAsBefore()
    {
        using var model = Tiny.Learnt(UNetLayout.StreamParallel);
        var sampler = new TextToVideoSampler(model);
        var (before, loop) = (sampler.Generate("a", "", Small, 1), sampler.Generate("a", "", Small with { Loop = true }, 1));
        Assert.IsFalse(before.Pixels.Span.SequenceEqual(loop.Pixels.Span));
        Assert.ThrowsExactly<OperationCanceledException>(() => sampler.Generate("a", "", Small with { Loop = true }, 1, token: new CancellationToken(canceled: true)));
        Assert.IsTrue(before.Pixels.Span.SequenceEqual(sampler.Generate("a", "", Small, 1).Pixels.Span));
    }

    [TestMethod]
    public void Generate_DecodedInRows_IsTheSameButForRounding()
    {
        using var model = Tiny.Video();
        var sampler = new TextToVideoSampler(model);
        Assert.IsGreaterThan(60, SmallVideos.Psnr(sampler.Generate("a", "", Small, 1), sampler.Generate("a", "", Small with { DecodeRows = 3 }, 1)));
    }

    [TestMethod]
    public void Generate_FramesHeld_BeginsWithThemAsTheAutoencoderShowsThem()
    {
        using var model = Tiny.Video();
        var sampler = new TextToVideoSampler(model);
        var source = SmallVideos.Gradient(2, 16, 12);
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var frames = tensor(source.Pixels.ToArray()).reshape(2, 16, 12, 3).permute(0, 3, 1, 2).to(ScalarType.Float32).div(127.5).sub(1);
        var shown = sampler.Decode(model.Autoencoder.Encode(frames).permute(1, 0, 2, 3).unsqueeze(0), 8, "");
        int held = shown.Pixels.Length;
        double Psnr(VideoClip made) => SmallVideos.Psnr(shown, new VideoClip(made.Pixels.Span[..held], 2, 16, 12, 8));
        var (made, free) = (sampler.Generate("a", "", Small with { Steps = 8, HeldFrames = 2 }, 1, source: source), sampler.Generate("a", "", Small with { Steps = 8 }, 1));
        Assert.IsGreaterThan(20, Psnr(made));                                             // but for the noise that the last step leaves
        Assert.IsGreaterThan(Psnr(free), Psnr(made));
        Assert.IsFalse(made.Pixels.Span[held..].SequenceEqual(made.Pixels.Span[(held / 2)..held]));
    }

    [TestMethod]
    public void Generate_FromASource_TakesItsShareOfTheStepsAndStaysNear()
    {
        using var model = Tiny.Video();
        var sampler = new TextToVideoSampler(model);
        var source = SmallVideos.Gradient(3, 16, 12);
        var told = new List<(int, int)>();
        VideoClip Generate(double strength) => sampler.Generate(
            "a", "", Small with { Steps = 20, Strength = strength, GuidanceScale = 1 }, 1, at => told.Add((at.Step, at.Steps)), source: source);
        var near = Generate(0.05);
        CollectionAssert.AreEqual(new[] { (1, 1) }, told);
        told.Clear();
        var far = Generate(0.8);
        Assert.AreEqual((16, 16), told[^1]);
        var shown = sampler.Generate("a", "", Small with { Steps = 20, Strength = 0.01 }, 1, source: source);
        Assert.IsGreaterThan(SmallVideos.Psnr(shown, far), SmallVideos.Psnr(shown, near));
    }

    [TestMethod]
    public void Generate_NoiseGiven_TakesItInsteadOfTheSeeds()
    {
        using var model = Tiny.Video();
        var sampler = new TextToVideoSampler(model);
        using var scope = NewDisposeScope();
        using var generator = new Generator(1, CPU);
        float[] noise = model.Schedule.Prior(sampler.NoiseShape(Small), generator).flatten().data<float>().ToArray();
        var expected = sampler.Generate("a", "", Small, 1);
        Assert.IsTrue(expected.Pixels.Span.SequenceEqual(sampler.Generate("a", "", Small, 2, given: noise).Pixels.Span));
    }

    [TestMethod]
    public void Generate_Cancelled_Stops()
    {
        using var model = Tiny.Video();
        using var cancel = new CancellationTokenSource();
        int done = 0;
        Assert.ThrowsExactly<OperationCanceledException>(() => new TextToVideoSampler(model).Generate("a", "", Small with { Steps = 5 }, 1, at =>
        {
            done = at.Step;
            cancel.Cancel();
        }, cancel.Token));
        Assert.AreEqual(1, done);
    }

    [TestMethod]
    public void Generate_WeightsNotFinite_NamesFrameAndPrompt()
    {
        using var model = Tiny.Video();
        using (no_grad())
            model.UNet.Temporal.parameters().Last().fill_(float.NaN);
        var thrown = Assert.ThrowsExactly<InvalidDataException>(() => new TextToVideoSampler(model).Generate("red ball", "", Small, 1));
        StringAssert.Contains(thrown.Message, "Frame 0");
        StringAssert.Contains(thrown.Message, "'red ball'");
    }

    [TestMethod]
    public void Generate_OverAndOver_KeepsNoTensors()
    {
        using var model = Tiny.Video();
        var sampler = new TextToVideoSampler(model);
        sampler.Generate("a", "", Small, 1);
        long before = Memory.Tensors();
        for (int i = 0; i < 5; i++)
            sampler.Generate("a", "", Small with { GuidanceScale = i }, i);
        Assert.AreEqual(before, Tensor.TotalCount);
    }

    [TestMethod, TestCategory("Heavy")]
    public void Generate_TwentyTimes_KeepsMemoryFlat()
    {
        using var model = Tiny.Video();
        var sampler = new TextToVideoSampler(model);
        for (int i = 0; i < 20; i++)
            sampler.Generate("a", "", Small, i);
        long before = Memory.Resident();
        for (int i = 0; i < 20; i++)
            sampler.Generate("a", "", Small, i);
        Assert.IsTrue(Memory.Resident() < 1.02 * before, $"{before} bytes became {Memory.Resident()}.");
    }

    [TestMethod]
    [DataRow("cfg", 9.0)]
    [DataRow("nocfg", 1.0)]
    public void Sample_GoldenPipeline_GivesTheSameVideo(string tag, double scale)
    {
        using var golden = new Golden("pipeline_t2v");
        using var unet = golden.Video("unet/config.json", "unet/diffusion_pytorch_model.safetensors");
        using var autoencoder = new AutoencoderKl(golden.Config<AutoencoderKlConfig>("vae/config.json"));
        StateDict.Load(autoencoder, golden.Tensors("vae/diffusion_pytorch_model.safetensors"), "vae");
        using var encoder = new ClipTextModel(ClipTextConfig.Parse(golden.Json("text_encoder/config.json").ToJsonString()));
        encoder.Load(golden.Tensors("text_encoder/model.safetensors"), "text_encoder");
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var io = golden.Io;
        var denoise = Guidance.Guided((z, t, text) => unet.call(z, full([z.shape[0]], t, ScalarType.Int64), text),
            encoder.call(io["cfg.negative_ids"].unsqueeze(0)), encoder.call(io["cfg.prompt_ids"].unsqueeze(0)), scale);
        var schedule = new NoiseSchedule(golden.Config<NoiseScheduleConfig>("scheduler/scheduler_config.json"));

        var latents = new DdimSampler().Sample(denoise, schedule, io["latents1"], 5);

        Close.Assert(io[$"{tag}.step_latents"][^1], latents, 0.003, "latents");
        for (int f = 0; f < latents.shape[2]; f++)
            Close.Assert(io[$"{tag}.video"][.., .., f], autoencoder.Decode(latents[.., .., f]), 0.003, $"frame {f}");
    }

    [TestMethod]
    public void Decode_LargeFrames_PixelsAreThereOnce()
    {
        using var model = Tiny.Video();
        using var scope = NewDisposeScope();
        var latents = zeros([1, model.UNet.Config.InChannels, 4, 128, 128]);
        var sampler = new TextToVideoSampler(model);
        sampler.Decode(latents[.., .., ..1], 8, "");                                      // what a first call alone allocates

        long before = GC.GetAllocatedBytesForCurrentThread();
        var clip = sampler.Decode(latents, 8, "");
        Assert.IsLessThan(1.5 * clip.Pixels.Length, GC.GetAllocatedBytesForCurrentThread() - before);
    }
}
