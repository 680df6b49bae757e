using Microsoft.ML.Mobius.Layers;
using Microsoft.ML.Mobius.Torch;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.UNet;

/// <summary>
/// StreamParallel, the Mobius layout (arXiv 2407.06617; method.md): the spatial stream s and the temporal stream u side by side, s into u by laterals, one
/// fusion at the end. Nothing in s depends on a trained weight, so no gradient is recorded for it. With joined levels the streams are fused before the last up
/// levels, h = s + u, which then are those of Serial: there alone frames meet in spatial layers, and there alone gradients cross them. As these are there anyway, the spatial
/// layers of those levels can be trained, too, copies of the image model's as the head is one. And s may be of 16 bits; it is widened wherever something trained takes it, and each
/// time anew, since what is kept of it is kept in 16.
/// </summary>
internal sealed class StreamParallelUNet(UNetConfig config, SpatialStream spatial, TemporalStream temporal) : VideoUNet(config, spatial, temporal)
{
    /// <inheritdoc/>
    protected override Tensor Forward(Tensor z, Tensor t, Tensor text, Recomputation? recomputation) => Forward(z, t, text, recomputation, cache: null);

    /// <summary>
    /// The same without gradients, where the levels inside the joined ones, or inside the outermost where none is joined, may be those of a call before.
    /// </summary>
    public Tensor Forward(Tensor z, Tensor t, Tensor text, DeepCache cache)
    {
        using var _ = no_grad();
        return Forward(z, t, text, recomputation: null, cache);
    }

    /// <inheritdoc/>
    protected override IEnumerable<nn.Module> Uncrossed() => [Spatial.InLayer(), .. Spatial.Down(), Spatial.Mid(), .. Spatial.Up().SkipLast(Config.JoinedLevels)];

    private Tensor Forward(Tensor z, Tensor t, Tensor text, Recomputation? recomputation, DeepCache? cache)
    {
        using var scope = recomputation is null ? NewDisposeScope() : null;               // recomputing, s and u are needed till the end of the way back
        long frames = z.shape[2];
        var times = Spatial.TimeEmbedding(t, frames);
        var precision = Spatial.InLayer().weight!.dtype;
        var (e, c) = (times.to(precision), text.to(precision));
        var (skipsOfS, skipsOfU) = (new Stack<Tensor>(), new Stack<Tensor>());
        (SpatialBlock Space, TemporalBlock Time)[] down = [.. Spatial.Down().Zip(Temporal.Down())], up = [.. Spatial.Up().Zip(Temporal.Up())];
        int apart = up.Length - Config.JoinedLevels, inner = Math.Min(apart, up.Length - 1), outer = up.Length - inner;

        // Nothing in s depends on u. Where all of u is kept for the way back s goes ahead, or what its layers need for themselves would leave holes in memory between what u keeps.
        var ahead = new Queue<Tensor>();
        bool alone = KeepsLayers && is_grad_enabled();
        if (alone)
        {
            Walk();
            alone = false;
            skipsOfS.Clear();
            skipsOfU.Clear();
        }
        var (s, u) = Walk();
        if (!Config.JoinsStreams)
            return Predicted(Wide(s), u);

        int joins = 0;
        var h = Join(s, u);
        foreach (var (space, time) in Config.TrainsSpace ? Temporal.Space().Zip(Temporal.Up().Skip(apart)) : up[apart..])
        {
            foreach (int i in Enumerable.Range(0, space.LayerCount()))
            {
                // SC takes much to compute and keeps little for the way back; the others the other way round.
                var (below, skip) = (h, Join(skipsOfS.Pop(), skipsOfU.Pop()));
                h = InOneStream(recomputation, Between, space, time, i, [below, skip], times, text, frames);
                Release([], [below, skip]);
            }
            if (space.HasUpsampler())
            {
                var (below, size) = (h, skipsOfS.Peek().shape[2..]);
                h = Time(Between, h => space.Upsample(h, size), below);
                Release([], [below]);
            }
        }
        return Predicted(h, null);

        // Both streams, to where they are joined; or s alone, and then u beside what s was.
        (Tensor S, Tensor U) Walk()
        {
            var s = Space((z, _, _) => Spatial.ConvIn(z), Axes.FramesToBatch(z).to(precision));
            var u = Time(0, h0 => Temporal.In(Wide(h0), frames), s);
            skipsOfS.Push(s);
            skipsOfU.Push(u);
            Each(0, outer, Descend);
            if (cache?.Next() is { } kept)
                (s, u) = kept;
            else
            {
                Each(outer, down.Length, Descend);
                var middle = s = Space(Spatial.Mid().Middle, s);
                u = Time(Spatial.Mid().Depth, u => Temporal.Mid().Middle(u, Wide(middle), frames, text), u);
                Each(0, inner, Ascend);
                cache?.Keep(s, u);
            }
            Each(inner, apart, Ascend);
            return (s, u);

            void Descend(int level)
            {
                if (level > 0)
                {
                    var (above, beside) = down[level - 1];
                    skipsOfS.Push(s = Space((s, _, _) => above.Downsample(s), s));
                    skipsOfU.Push(u = Time(Between, beside.Downsample, u));
                }
                var (space, time) = down[level];
                foreach (int i in Enumerable.Range(0, space.LayerCount()))
                {
                    var x = s = Space((s, e, c) => space.Layer(i, s, e, c), s);
                    u = Time(space.Depth, u => time.Layer(i, [u], Wide(x), frames, text), u);
                    skipsOfS.Push(s);
                    skipsOfU.Push(u);
                }
            }

            void Ascend(int level)
            {
                var (space, time) = up[level];
                foreach (int i in Enumerable.Range(0, space.LayerCount()))
                {
                    var (below, skip, belowOfU, skipOfU) = (s, skipsOfS.Pop(), u, skipsOfU.Pop());
                    var x = s = Space((s, e, c) => space.Layer(i, s, e, c), below, skip);
                    u = Time(space.Depth, u => time.Layer(i, [u, skipOfU], Wide(x), frames, text), belowOfU);
                    Release([below, skip], [belowOfU, skipOfU]);
                }
                if (space.HasUpsampler())
                {
                    var (below, belowOfU, size) = (s, u, skipsOfS.Peek().shape[2..]);
                    s = Space((s, _, _) => space.Upsample(s, size), below);
                    u = Time(Between, u => time.Upsample(u, size), belowOfU);
                    Release([below], [belowOfU]);
                }
            }

            void Each(int from, int to, Action<int> at)
            {
                for (int level = from; level < to; level++)
                    at(level);
            }
        }

        Tensor Space(Func<Tensor, Tensor, Tensor, Tensor> layer, params Tensor[] s)
        {
            if (!alone && ahead.TryDequeue(out var computed))
                return computed;
            var result = InChunks(layer, s, e, c);
            if (alone)
                ahead.Enqueue(result);
            return result;
        }

        Tensor Wide(Tensor s) => s.to(times.dtype);

        Tensor Time(int depth, Func<Tensor, Tensor> layer, Tensor u) => alone ? u : Part(recomputation, depth, () => layer(u));

        void Release(Tensor[] ofS, Tensor[] recorded)
        {
            if (alone)                                                                    // or u would find nothing of what s was
                return;
            if (KeepsLayers)
                Array.ForEach(ofS, tensor => tensor.Dispose());
            VideoUNet.Release(recomputation, recorded);
        }

        Tensor Join(Tensor s, Tensor u)
        {
            int i = joins++;
            var h = Time(Between, u => Temporal.Join(i, Wide(s), u), u);
            Release([s], [u]);
            return h;
        }

        Tensor Predicted(Tensor s, Tensor? u)
        {
            var predicted = Axes.BatchToFrames(Temporal.Fusion().call(s, u), frames);
            return scope is null ? predicted : predicted.MoveToOuterDisposeScope();
        }
    }

    /// <summary>
    /// A layer of the spatial stream for <see cref="VideoUNet.SpatialFrameChunk"/> frames at a time, of one clip, since each frame is computed for itself:
    /// what a layer needs for itself is needed for so many frames alone.
    /// </summary>
    private Tensor InChunks(Func<Tensor, Tensor, Tensor, Tensor> layer, Tensor[] s, Tensor e, Tensor text)
    {
        using var scope = NewDisposeScope();
        long clips = text.shape[0], frames = e.shape[0] / clips, chunk = SpatialFrameChunk;
        if (chunk == 0)
            return layer(Joined(s), e, text).MoveToOuterDisposeScope();
        var chunks = new List<Tensor>();
        for (long clip = 0; clip < clips; clip++)
            for (long f = 0; f < frames; f += chunk)
            {
                using var inner = NewDisposeScope();
                Tensor Cut(Tensor x) => x.narrow(0, clip * frames + f, Math.Min(chunk, frames - f));
                chunks.Add(layer(Joined([.. s.Select(Cut)]), Cut(e), text.narrow(0, clip, 1)).MoveToOuterDisposeScope());
            }
        return cat(chunks, 0).MoveToOuterDisposeScope();
    }
}
