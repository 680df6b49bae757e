using Microsoft.ML.Data;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Sampling;
using Microsoft.ML.Mobius.Torch;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Runtime;

namespace Microsoft.ML.Mobius;

public sealed partial class TextToVideoTransformer
{
    // strings: input and output column; string or null: negative prompt column, seed column, from 1.5 on source column; generation: int frames, height, width,
    // double frames/s, int steps, double guidance, string negative prompt, long seed, from 1.2 on int sampler or -1 and double guidance
    // rescale, from 1.3 on double eta, from 1.5 on bool loop, int frame window, int frame overlap or -1, double strength, int held frames, bool prompt weights, int
    // decode rows, from 1.6 on int key frames, bool guidance in turn, int spatial frame chunk, int deep cache interval; history: losses and held-out losses, each an int count and so many (int step, double loss), double seconds, long bytes, from
    // 1.4 on int curves of held-out loss by noise and as many of them. Beside it the model's own entries, stored.
    private const uint WithSampler = 0x00010002, WithEta = 0x00010003, WithLossByNoise = 0x00010004, WithSource = 0x00010005, WithKeyFrames = 0x00010006;

    private static VersionInfo GetVersionInfo() => new(
        modelSignature: "MBIUST2V",
        verWrittenCur: WithKeyFrames,
        verReadableCur: WithKeyFrames,
        verWeCanReadBack: 0x00010001,
        loaderSignature: LoaderSignature,
        loaderAssemblyName: typeof(TextToVideoTransformer).Assembly.FullName);

    // Found by ML.NET through the LoadableClass attribute.
    private static TextToVideoTransformer Create(IHostEnvironment env, ModelLoadContext ctx)
    {
        Contracts.CheckValue(env, nameof(env));
        var host = env.Register(LoaderSignature);
        host.CheckValue(ctx, nameof(ctx));
        ctx.CheckAtModel(GetVersionInfo());
        using var channel = host.Start("Loading");
        var environment = (IHostEnvironmentInternal)host;
        var device = DeviceChoice.Resolve(environment.GpuDeviceId, environment.FallbackToCpu, channel.Warning);
        var transformer = Read(host, ctx);
        try
        {
            transformer._model.To(device);
            return transformer;
        }
        catch
        {
            transformer.Dispose();
            throw;
        }
    }

    // ML.NET wraps what is thrown here into an InvalidOperationException of its own.
    private static TextToVideoTransformer Read(IHost host, ModelLoadContext ctx)
    {
        TextToVideoModel? model = null;
        string lastEntry = "its head";
        try
        {
            string input = ctx.LoadNonEmptyString(), output = ctx.LoadNonEmptyString();
            string? negativePrompts = ctx.LoadStringOrNull(), seeds = ctx.LoadStringOrNull();
            string? sources = ctx.Header.ModelVerWritten >= WithSource ? ctx.LoadStringOrNull() : null;
            var generation = ReadGeneration(ctx);
            var history = ReadHistory(ctx);
            model = TextToVideoModel.Load((name, read) => ReadEntry(host, ctx, lastEntry = name, read));
            host.CheckDecode(!generation.Problems(model.Factor).Any(), "Its options are out of their range.");
            return new TextToVideoTransformer(host, model, history, generation, input, output, negativePrompts, seeds, sources);
        }
        catch (Exception e) when (e is not (OutOfMemoryException or OperationCanceledException))
        {
            model?.Dispose();
            throw e is FormatException ? e
                : host.ExceptDecode(e, $"The text-to-video model is damaged, as far as it was read (to {lastEntry}): {e.Message}");
        }
    }

    private static bool ReadEntry(IHost host, ModelLoadContext ctx, string name, Action<Stream> read)
    {
        try
        {
            return ctx.TryLoadStored(name, read);
        }
        catch (Exception e) when (e is not (OutOfMemoryException or OperationCanceledException))
        {
            throw host.ExceptDecode(e, $"The text-to-video model is damaged, in its entry {name}: {e.Message}");
        }
    }

    private protected override void SaveModel(ModelSaveContext ctx)
    {
        Host.CheckValue(ctx, nameof(ctx));
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            ctx.CheckAtModel();
            ctx.SetVersionInfo(GetVersionInfo());
            ctx.SaveNonEmptyString(InputColumnName);
            ctx.SaveNonEmptyString(OutputColumnName);
            ctx.SaveStringOrNull(NegativePromptColumnName);
            ctx.SaveStringOrNull(SeedColumnName);
            ctx.SaveStringOrNull(SourceColumnName);
            WriteGeneration(ctx, Generation);
            WriteHistory(ctx.Writer, History);
            _model.Save(ctx.SaveStored);
        }
    }

    private static void WriteGeneration(ModelSaveContext ctx, GenerationOptions generation)
    {
        ctx.Writer.Write(generation.FrameCount);
        ctx.Writer.Write(generation.Height);
        ctx.Writer.Write(generation.Width);
        ctx.Writer.Write(generation.FrameRate);
        ctx.Writer.Write(generation.SamplingSteps);
        ctx.Writer.Write(generation.GuidanceScale);
        ctx.SaveString(generation.NegativePrompt);
        ctx.Writer.Write(generation.Seed);
        ctx.Writer.Write((int?)generation.Sampler ?? -1);
        ctx.Writer.Write(generation.GuidanceRescale);
        ctx.Writer.Write(generation.Eta);
        ctx.Writer.Write(generation.Loop);
        ctx.Writer.Write(generation.FrameWindow);
        ctx.Writer.Write(generation.FrameOverlap ?? -1);
        ctx.Writer.Write(generation.Strength);
        ctx.Writer.Write(generation.HeldFrames);
        ctx.Writer.Write(generation.PromptWeights);
        ctx.Writer.Write(generation.DecodeRows);
        ctx.Writer.Write(generation.KeyFrames);
        ctx.Writer.Write(generation.GuidanceInTurn);
        ctx.Writer.Write(generation.SpatialFrameChunk);
        ctx.Writer.Write(generation.DeepCacheInterval);
    }

    private static GenerationOptions ReadGeneration(ModelLoadContext ctx)
    {
        var generation = ReadFirstOptions(ctx);
        if (ctx.Header.ModelVerWritten < WithSource)
            return generation;
        generation = generation with
        {
            Loop = ctx.Reader.ReadBoolean(),
            FrameWindow = ctx.Reader.ReadInt32(),
            FrameOverlap = ctx.Reader.ReadInt32() is >= 0 and var overlap ? overlap : null,
            Strength = ctx.Reader.ReadDouble(),
            HeldFrames = ctx.Reader.ReadInt32(),
            PromptWeights = ctx.Reader.ReadBoolean(),
            DecodeRows = ctx.Reader.ReadInt32(),
        };
        return ctx.Header.ModelVerWritten < WithKeyFrames ? generation : generation with
        {
            KeyFrames = ctx.Reader.ReadInt32(),
            GuidanceInTurn = ctx.Reader.ReadBoolean(),
            SpatialFrameChunk = ctx.Reader.ReadInt32(),
            DeepCacheInterval = ctx.Reader.ReadInt32(),
        };
    }

    // All of them until 1.4.
    private static GenerationOptions ReadFirstOptions(ModelLoadContext ctx) => new()
    {
        FrameCount = ctx.Reader.ReadInt32(),
        Height = ctx.Reader.ReadInt32(),
        Width = ctx.Reader.ReadInt32(),
        FrameRate = ctx.Reader.ReadDouble(),
        SamplingSteps = ctx.Reader.ReadInt32(),
        GuidanceScale = ctx.Reader.ReadDouble(),
        NegativePrompt = ctx.LoadString(),
        Seed = ctx.Reader.ReadInt64(),
        Sampler = ctx.Header.ModelVerWritten >= WithSampler && ctx.Reader.ReadInt32() is >= 0 and var sampler ? (SamplerKind)sampler : null,
        GuidanceRescale = ctx.Header.ModelVerWritten >= WithSampler ? ctx.Reader.ReadDouble() : 0,
        Eta = ctx.Header.ModelVerWritten >= WithEta ? ctx.Reader.ReadDouble() : 0,
    };

    private static void WriteHistory(BinaryWriter writer, TrainingHistory history)
    {
        void Write(IReadOnlyList<LossPoint> losses)
        {
            writer.Write(losses.Count);
            foreach (var point in losses)
            {
                writer.Write(point.Step);
                writer.Write(point.Loss);
            }
        }

        Write(history.Losses);
        Write(history.HeldOut);
        writer.Write(history.Seconds);
        writer.Write(history.PeakMemoryBytes);
        writer.Write(history.HeldOutByTime.Count);
        foreach (var losses in history.HeldOutByTime)
            Write(losses);
    }

    private static TrainingHistory ReadHistory(ModelLoadContext ctx)
    {
        var reader = ctx.Reader;
        List<LossPoint> Losses()
        {
            var losses = new List<LossPoint>();
            for (int count = reader.ReadInt32(); losses.Count < count;)
                losses.Add(new LossPoint(reader.ReadInt32(), reader.ReadDouble()));
            return losses;
        }

        var history = new TrainingHistory(Losses(), Losses(), reader.ReadDouble(), reader.ReadInt64());
        if (ctx.Header.ModelVerWritten < WithLossByNoise)
            return history;
        var byTime = new List<List<LossPoint>>();
        for (int count = reader.ReadInt32(); byTime.Count < count;)
            byTime.Add(Losses());
        return history with { HeldOutByTime = byTime };
    }
}
