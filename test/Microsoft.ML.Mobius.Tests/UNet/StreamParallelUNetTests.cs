using Microsoft.ML.Mobius.Layers;
using Microsoft.ML.Mobius.UNet;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.UNet;

[TestClass]
public sealed class StreamParallelUNetTests
{
    [TestMethod]
    [DataRow(1, Lateral.Convolution, false)]
    [DataRow(1, Lateral.Identity, false)]
    [DataRow(2, Lateral.Convolution, false)]
    [DataRow(4, Lateral.Convolution, true)]
    [DataRow(1, Lateral.Convolution, true, 1)]
    [DataRow(1, Lateral.Identity, true, 1)]
    [DataRow(2, Lateral.Convolution, true, 1)]
    [DataRow(1, Lateral.Convolution, true, 2)]
    [DataRow(4, Lateral.Convolution, true, 1, true)]
    [DataRow(2, Lateral.Convolution, true, 2, true)]
    public void Forward_BeforeTheFirstStep_IsTheImageModelBitForBit(int divisor, Lateral lateral, bool told, int joined = 0, bool space = false)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        random.manual_seed(1);
        var spatial = Tiny.Spatial(Tiny.UNet);
        using var unet = VideoUNet.Around(
            spatial, Tiny.UNet with { TemporalWidthDivisor = divisor, Lateral = lateral, JoinedLevels = joined, TrainJoinedLevels = space, TemporalText = told, FramePositions = told });
        var (z, text) = (randn([1, 4, 3, 9, 7]), randn([1, 5, 16]));

        var video = unet.call(z, full([1], 400, ScalarType.Int64), text);

        var images = spatial.call(Axes.FramesToBatch(z), full([3], 400, ScalarType.Int64), text);
        Assert.IsTrue(Axes.BatchToFrames(images, 3).equal(video).all().item<bool>(), "The frames as one batch differ.");
        for (int f = 0; f < 3; f++)
            Close.Assert(spatial.call(z[.., .., f], full([1], 400, ScalarType.Int64), text), video[.., .., f], 1e-5, $"frame {f}");
    }

    [TestMethod]
    public void Backward_AnyInput_LeavesTheSpatialHalfOutOfTheGraph()
    {
        using var scope = NewDisposeScope();
        random.manual_seed(1);
        using var unet = VideoUNet.Around(Tiny.Spatial(Tiny.UNet), Tiny.UNet);
        var (z, t, text) = (randn([2, 4, 3, 8, 8]), tensor([3L, 900L]), randn([2, 5, 16]));

        Assert.IsFalse(unet.Spatial.call(Axes.FramesToBatch(z), t.repeat_interleave(3), text.repeat_interleave(3, 0)).requires_grad);
        unet.call(z, t, text).square().mean().backward();

        Assert.IsTrue(unet.Spatial.parameters().All(p => !p.requires_grad && p.grad is null));
        Assert.IsTrue(unet.Temporal.parameters().All(p => p.requires_grad));
        Assert.IsTrue(unet.Temporal.named_parameters().Single(p => p.name == "state_fusion.proj.weight").parameter.grad!.abs().sum().item<float>() > 0);
    }

    [TestMethod]
    public void Backward_JoinedAtTheFirstStep_ReachesTheTemporalLayersOfAllLevels()
    {
        using var scope = NewDisposeScope();
        random.manual_seed(1);
        using var unet = VideoUNet.Around(Tiny.Spatial(Tiny.UNet), Tiny.UNet with { JoinedLevels = 1 });

        unet.call(randn([2, 4, 3, 8, 8]), tensor([3L, 900L]), randn([2, 5, 16])).square().mean().backward();

        Assert.IsTrue(unet.Spatial.parameters().All(p => !p.requires_grad && p.grad is null));
        foreach (var (name, parameter) in unet.Temporal.named_parameters())
            if (name.EndsWith("conv4.3.weight", StringComparison.Ordinal) || name.EndsWith("proj_out.weight", StringComparison.Ordinal))
                Assert.IsGreaterThan(0, parameter.grad!.abs().sum().item<float>(), name);
    }

    [TestMethod]
    public void Backward_JoinedLevelsTrained_MovesCopiesAndLeavesTheImageModel()
    {
        using var scope = NewDisposeScope();
        random.manual_seed(1);
        using var unet = VideoUNet.Around(Tiny.Spatial(Tiny.UNet), Tiny.UNet with { JoinedLevels = 1, TrainJoinedLevels = true });

        unet.call(randn([2, 4, 3, 8, 8]), tensor([3L, 900L]), randn([2, 5, 16])).square().mean().backward();

        Assert.IsTrue(unet.Spatial.parameters().All(p => !p.requires_grad && p.grad is null));
        var copies = unet.Temporal.named_parameters().Where(p => p.name.StartsWith("joined_blocks.0.", StringComparison.Ordinal)).ToList();
        Assert.HasCount(unet.Spatial.Up().Last().parameters().Count(), copies);
        Assert.IsTrue(copies.All(p => p.parameter.grad is not null));
        Assert.IsTrue(copies.All(p => unet.Temporal.RateOf(p.name) == 0.25));
        string last = $"up_blocks.{unet.Spatial.Up().Count - 1}.resnets.0.conv1";
        Assert.AreSame(unet.Temporal.Space()[0].named_modules().Single(named => named.name == "resnets.0.conv1").module, unet.PublishedModules().Single(named => named.Name == last).Module);
    }

    [TestMethod]
    [DataRow(1, 1)]
    [DataRow(2, 2)]
    public void Forward_Joined_IsTheSumOfStreamsThenSerial(int divisor, int joined)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        using var unet = Trained(Tiny.UNet with { JoinedLevels = joined, TemporalWidthDivisor = divisor, TemporalText = true });
        var (z, t, text) = (randn([1, 4, 3, 8, 8]), tensor([400L]), randn([1, 5, 16]));
        const long F = 3;

        var (spatial, temporal) = (unet.Spatial, unet.Temporal);
        var e = spatial.TimeEmbedding(t, F);
        var s = spatial.ConvIn(Axes.FramesToBatch(z));
        var u = zeros([F, s.shape[1] / divisor, 8, 8]);
        var skips = new Stack<(Tensor S, Tensor U)>([(s, u)]);
        foreach (var (space, time) in spatial.Down().Zip(temporal.Down()))
        {
            for (int i = 0; i < space.LayerCount(); i++)
                skips.Push((s = space.Layer(i, s, e, text.expand(F, -1, -1)), u = time.Layer(i, [u], s, F, text)));
            if (space.HasDownsampler())
                skips.Push((s = space.Downsample(s), u = time.Downsample(u)));
        }
        s = spatial.Mid().Middle(s, e, text.expand(F, -1, -1));
        u = temporal.Mid().Middle(u, s, F, text);
        int level = 0, join = 0;
        Tensor? h = null;
        foreach (var (space, time) in spatial.Up().Zip(temporal.Up()))
        {
            if (level++ == temporal.Up().Count - joined)
                h = temporal.Join(join++, s, u);
            for (int i = 0; i < space.LayerCount(); i++)
            {
                var skip = skips.Pop();
                if (h is null)
                {
                    s = space.Layer(i, cat([s, skip.S], 1), e, text.expand(F, -1, -1));
                    u = time.Layer(i, [cat([u, skip.U], 1)], s, F, text);
                }
                else
                    h = time.Attention(i, space.Attention(i, time.Convolution(i,
                        space.Resnet(i, cat([h, temporal.Join(join++, skip.S, skip.U)], 1), e), F), text.expand(F, -1, -1)), F, text);
            }
            if (space.HasUpsampler())
            {
                long[] size = skips.Peek().S.shape[2..];
                if (h is null)
                    (s, u) = (space.Upsample(s, size), time.Upsample(u, size));
                else
                    h = space.Upsample(h, size);
            }
        }
        Close.Assert(Axes.BatchToFrames(temporal.Fusion().call(h!, null), F), unet.call(z, t, text), 1e-5);
    }

    [TestMethod]
    [DataRow(0)]
    [DataRow(1)]
    public void Forward_Pooling_HasNoResamplingOfItsOwn(int joined)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        random.manual_seed(1);
        var config = Tiny.UNet with { Resampling = Resampling.Pooling, JoinedLevels = joined };
        var spatial = Tiny.Spatial(config);
        using var unet = VideoUNet.Around(spatial, config);
        var (z, t, text) = (randn([1, 4, 3, 9, 7]), full([1], 400, ScalarType.Int64), randn([1, 5, 16]));
        var u = arange(5 * 3).reshape([1, 1, 5, 3]).to(ScalarType.Float32);

        Assert.IsFalse(unet.Temporal.named_parameters().Any(p => p.name.Contains("samplers", StringComparison.Ordinal)));
        Assert.IsTrue(tensor([2f, 3.5f, 8f, 9.5f, 12.5f, 14f]).equal(unet.Temporal.Down()[0].Downsample(u).flatten()).all().item<bool>(), "Means of what there is of 2x2.");
        Assert.IsTrue(u.equal(unet.Temporal.Up()[0].Upsample(u, [10, 6])[.., .., TensorIndex.Slice(step: 2), TensorIndex.Slice(step: 2)]).all().item<bool>());
        Assert.IsTrue(Axes.BatchToFrames(spatial.call(Axes.FramesToBatch(z), t.expand(3), text), 3).equal(unet.call(z, t, text)).all().item<bool>(),
            "Before the first step it is the image model.");
    }

    [TestMethod]
    public void Forward_TwoClips_AreIndependent()
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        random.manual_seed(1);
        using var unet = VideoUNet.Around(Tiny.Spatial(Tiny.UNet), Tiny.UNet with { TemporalText = true, JoinedLevels = 1 });
        foreach (var parameter in unet.Temporal.parameters())
            parameter.add_(randn_like(parameter) * 0.05);
        var (z, t, text) = (randn([2, 4, 3, 8, 8]), tensor([3L, 900L]), randn([2, 5, 16]));
        var both = unet.call(z, t, text);
        for (int i = 0; i < 2; i++)
            Close.Assert(unet.call(z[i..(i + 1)], t[i..(i + 1)], text[i..(i + 1)]), both[i..(i + 1)], 1e-4, $"clip {i}");
    }

    [TestMethod]
    [DataRow(Lateral.Identity, true)]
    [DataRow(Lateral.Convolution, false)]
    public void Forward_Recorded_KeepsNothingOfTheSpatialStreamButForLaterals(Lateral lateral, bool keepsNothing)
    {
        using var scope = NewDisposeScope();
        using var unet = Trained(Tiny.UNet with { Lateral = lateral });
        var (z, t, text) = (randn([2, 4, 3, 8, 8]), tensor([3L, 900L]), randn([2, 5, 16]));
        var ofS = new List<Tensor>();
        foreach (var (_, module) in unet.Spatial.named_modules())
            if (module is nn.Module<Tensor, Tensor> layer)
                layer.register_forward_hook((_, _, y) => See(y));
            else if (module is nn.Module<Tensor, Tensor?, Tensor> block)
                block.register_forward_hook((_, _, _, y) => See(y));
            else if (module is nn.Module<Tensor, Tensor, Tensor> transformer)
                transformer.register_forward_hook((_, _, _, y) => See(y));
        Tensor See(Tensor y)
        {
            ofS.Add(y.alias().DetachFromDisposeScope());
            return y;
        }

        var loss = unet.call(z, t, text).square().mean();

        // What was kept for the way back may not be changed: libtorch would say so.
        Assert.IsTrue(ofS.Count > 20 && ofS.All(s => !s.requires_grad), "The graph holds the spatial stream.");
        foreach (var s in ofS)
            s.zero_();
        if (keepsNothing)
            loss.backward();
        else
            Assert.Contains("modified by an inplace operation", Assert.Throws<Exception>(loss.backward).Message);
        ofS.ForEach(s => s.Dispose());
    }

    [TestMethod]
    [DataRow(1)]
    [DataRow(2)]
    [DataRow(3)]
    [DataRow(5)]
    [DataRow(2, 1)]
    public void Backward_SpatialFramesInChunks_GivesTheSameGradients(int chunk, int joined = 0)
    {
        using var scope = NewDisposeScope();
        using var unet = Trained(Tiny.UNet with { TemporalText = true, JoinedLevels = joined });
        var (z, t, text) = (randn([2, 4, 3, 9, 7]), tensor([3L, 900L]), randn([2, 5, 16]));
        var (loss, gradients) = Gradients(unet, z, t, text);
        unet.SpatialFrameChunk = chunk;
        var (lossInChunks, inChunks) = Gradients(unet, z, t, text);
        Assert.AreEqual(loss, lossInChunks, 1e-6 * loss);
        foreach (var (name, gradient) in gradients)
            Close.AssertRelative(gradient, inChunks[name], 1e-5, name);
        Assert.IsTrue(Norm(gradients.Keys.ToDictionary(name => name, name => gradients[name] - inChunks[name])) < 1e-6 * Norm(gradients));
    }

    [TestMethod]
    [DataRow(UNetLayout.StreamParallel, 1, Lateral.Convolution)]
    [DataRow(UNetLayout.StreamParallel, 1, Lateral.Identity)]
    [DataRow(UNetLayout.StreamParallel, 2, Lateral.Convolution)]
    [DataRow(UNetLayout.StreamParallel, 1, Lateral.Convolution, 1)]
    [DataRow(UNetLayout.StreamParallel, 2, Lateral.Convolution, 2)]
    [DataRow(UNetLayout.StreamParallel, 2, Lateral.Convolution, 1, Resampling.Pooling)]
    [DataRow(UNetLayout.StreamParallel, 1, Lateral.Identity, 0, Resampling.Pooling)]
    [DataRow(UNetLayout.Serial, 1, Lateral.Convolution)]
    [DataRow(UNetLayout.LayerParallel, 1, Lateral.Convolution)]
    public void Backward_Recomputed_GivesTheSameGradients(UNetLayout layout, int divisor, Lateral lateral, int joined = 0, Resampling resampling = Resampling.Convolution)
    {
        using var scope = NewDisposeScope();
        using var unet = Trained(Tiny.UNet with
        {
            Layout = layout, TemporalWidthDivisor = divisor, Lateral = lateral, JoinedLevels = joined, Resampling = resampling, FramePositions = true,
        });
        var (z, t, text) = (randn([2, 4, 3, 9, 7]), tensor([3L, 900L]), randn([2, 5, 16]));
        var (loss, gradients) = Gradients(unet, z, t, text);
        unet.RecomputeActivations = true;
        foreach (int keptDepth in new[] { int.MaxValue, 1, 0 })
        {
            unet.KeptDepth = keptDepth;
            long before = Tensor.TotalCount;
            var (lossAgain, again) = Gradients(unet, z, t, text);
            Assert.AreEqual(before + 2 * gradients.Count, Tensor.TotalCount, "A tensor leaks.");    // a gradient and its copy
            Assert.AreEqual(loss, lossAgain, keptDepth == 0 ? 1e-6 * loss : 0, "Products of fewer rows may round differently.");
            if (layout == UNetLayout.StreamParallel && joined == 0)
                foreach (var (name, gradient) in gradients)
                    Assert.IsTrue(gradient.equal(again[name]).all().item<bool>(), name);
            Assert.IsTrue(Norm(gradients.Keys.ToDictionary(name => name, name => gradients[name] - again[name])) < 1e-6 * Norm(gradients));
        }
        Assert.IsTrue(gradients.Values.Count(gradient => gradient.abs().sum().item<float>() > 0) > 0.9 * gradients.Count);
    }

    [TestMethod]
    [DataRow(0)]
    [DataRow(1)]
    [DataRow(2)]
    public void Forward_Recorded_ComputesSpatialLayersFirstAndOnceAndTheSame(int joined)
    {
        using var scope = NewDisposeScope();
        using var unet = Trained(Tiny.UNet with { LayersPerBlock = 2, JoinedLevels = joined });
        var (z, t, text) = (randn([1, 4, 3, 9, 7]), tensor([400L]), randn([1, 5, 16]));
        Tensor unrecorded;
        using (no_grad())
            unrecorded = unet.call(z, t, text);
        var order = new List<string>();
        foreach (var module in unet.modules())
            switch (module)
            {
                case ResnetBlock space:
                    space.register_forward_hook((_, _, _, y) => { order.Add("s"); return y; });
                    break;
                case TemporalConvolution time:
                    time.register_forward_hook((_, _, _, y) => { order.Add("u"); return y; });
                    break;
            }

        var recorded = unet.call(z, t, text);

        Assert.IsTrue(recorded.requires_grad && recorded.equal(unrecorded).all().item<bool>());
        int layers = unet.Spatial.modules().Count(module => module is ResnetBlock), apart = layers - 3 * joined;      // three layers a level on the way up
        Assert.AreEqual(layers, order.Count(name => name == "s"));
        Assert.AreEqual(apart, order.IndexOf("u"), "They are not computed first.");
    }

    [TestMethod]
    [DataRow(0, 1)]
    [DataRow(1, 2)]
    [DataRow(int.MaxValue, 2)]
    public void Backward_KeptFromADepth_ComputesTheOthersTwice(int keptDepth, int calls)
    {
        using var scope = NewDisposeScope();
        using var unet = Trained(Tiny.UNet with { LayersPerBlock = 2 });
        var (z, t, text) = (randn([1, 4, 3, 8, 8]), tensor([3L]), randn([1, 5, 16]));
        var (outer, inner) = (0, 0);
        foreach (var (name, module) in unet.Temporal.named_modules())
            if (module is TemporalConvolution layer && !name.StartsWith("mid", StringComparison.Ordinal))
                layer.register_forward_hook((_, x, _, y) =>
                {
                    if (x.shape[1] == Tiny.UNet.BlockOutChannels[0])
                        outer++;
                    else
                        inner++;
                    return y;
                });
        (unet.RecomputeActivations, unet.KeptDepth) = (true, keptDepth);
        Gradients(unet, z, t, text);
        Assert.AreEqual(5 * calls, outer);
        Assert.AreEqual(5 * (keptDepth == int.MaxValue ? 2 : 1), inner);
    }

    [TestMethod]
    [DataRow(false)]
    [DataRow(true)]
    public void Backward_KeptFromTheOutermost_ComputesOfJoinedLevelsConvolutionsOverTimeAndFeedForwardsTwice(bool trainsSpace)
    {
        using var scope = NewDisposeScope();
        using var unet = Trained(Tiny.UNet with { LayersPerBlock = 2, JoinedLevels = 1, TrainJoinedLevels = trainsSpace });
        var (z, t, text) = (randn([1, 4, 3, 8, 8]), tensor([3L]), randn([1, 5, 16]));
        var rows = new Dictionary<string, long>();
        foreach (var (name, module) in unet.Temporal.named_modules())
            switch (module)
            {
                case TemporalConvolution layer:
                    layer.register_forward_hook((_, x, _, y) => { rows[name] = rows.GetValueOrDefault(name) + x.shape[0]; return y; });
                    break;
                case FeedForward layer:
                    layer.register_forward_hook((_, x, y) => { rows[name] = rows.GetValueOrDefault(name) + x.shape[0]; return y; });
                    break;
            }
        Gradients(unet, z, t, text);
        var kept = new Dictionary<string, long>(rows);
        rows.Clear();
        (unet.RecomputeActivations, unet.KeptDepth) = (true, 0);

        Gradients(unet, z, t, text);

        var twice = rows.Where(layer => layer.Value > kept[layer.Key]).ToDictionary();
        Assert.IsTrue(twice.Values.Order().SequenceEqual(kept.Where(layer => twice.ContainsKey(layer.Key)).Select(layer => 2 * layer.Value).Order()));
        Assert.AreEqual(trainsSpace ? 9 : 6, twice.Count);
        Assert.IsTrue(twice.Keys.All(name => name.StartsWith($"up_blocks.{Tiny.UNet.LevelCount - 1}.", StringComparison.Ordinal) || name.StartsWith("joined_blocks.", StringComparison.Ordinal)));
    }

    /// <summary>A network all of whose trained weights are random, so that all have gradients.</summary>
    [TestMethod]
    [DataRow(0)]
    [DataRow(1)]
    [DataRow(2)]
    public void Forward_DeepCache_TakesTheInnerLevelsOfTheCallBefore(int joined)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        using var unet = (StreamParallelUNet)Trained(Tiny.UNet with { JoinedLevels = joined });
        using var cache = new DeepCache(2);
        var (one, other, t, text) = (randn([1, 4, 3, 8, 8]), randn([1, 4, 3, 8, 8]), tensor([400L]), randn([1, 5, 16]));
        Tensor Whole(Tensor z) => unet.call(z, t, text);
        bool Same(Tensor a, Tensor b) => a.equal(b).all().item<bool>();

        Assert.IsTrue(Same(Whole(one), unet.Forward(one, t, text, cache)));
        Assert.IsTrue(Same(Whole(one), unet.Forward(one, t, text, cache)), "Of the same latents the inner levels are the same.");
        Assert.IsTrue(Same(Whole(one), unet.Forward(one, t, text, cache)));
        var mixed = unet.Forward(other, t, text, cache);
        Assert.IsFalse(Same(Whole(other), mixed) || Same(Whole(one), mixed));
        cache.Clear();
        Assert.IsTrue(Same(Whole(other), unet.Forward(other, t, text, cache)), "It begins anew.");
    }

    private static VideoUNet Trained(UNetConfig config)
    {
        random.manual_seed(1);
        var unet = VideoUNet.Around(Tiny.Spatial(config), config);
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        foreach (var parameter in unet.Temporal.parameters())
            parameter.add_(randn_like(parameter) * 0.05);
        return unet;
    }

    private static (float Loss, Dictionary<string, Tensor> Gradients) Gradients(VideoUNet unet, Tensor z, Tensor t, Tensor text)
    {
        float loss = 0;
        foreach (var parameter in unet.Temporal.parameters())
            parameter.grad = null;
        unet.Backward(z, t, text, predicted =>
        {
            var squares = predicted.square().mean();
            loss = squares.item<float>();
            return squares;
        });
        return (loss, unet.Temporal.named_parameters().ToDictionary(p => p.name, p => p.parameter.grad!.clone()));
    }

    private static double Norm(Dictionary<string, Tensor> tensors) => Math.Sqrt(tensors.Values.Sum(tensor => tensor.square().sum().item<float>()));
}
