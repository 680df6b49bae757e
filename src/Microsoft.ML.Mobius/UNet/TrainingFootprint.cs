using Microsoft.ML.Mobius.Layers;
using Microsoft.ML.Mobius.Torch;

namespace Microsoft.ML.Mobius.UNet;

/// <summary>What training a video U-Net takes in memory, counted layer by layer along its plan; no tensor is made.</summary>
/// <remarks>
/// A layer's forward pass leaves two kinds of values. Some libtorch saves for the backward pass and frees as that goes by: the inputs of convolutions, norms
/// and activations, queries, keys, values and results of attentions, and the inputs of linear layers that are trained. The others are results between
/// the layers, which stay for the whole step. Numbers below are in units of one such result, [B·F, C, h, w].
/// </remarks>
internal sealed class TrainingFootprint
{
    /// <summary>In TC, of each of its four convolutions: the input, its norm and the SiLU of that.</summary>
    private const int SavedByConvolution = 3;

    /// <summary>
    /// Inside TA: the three norms' inputs and results, queries, keys, values and results of two attentions, the feed-forward's 8 + 4 + 4, and the result.
    /// </summary>
    private const int SavedByTrainedBlock = 3 + 3 + 8 + 16 + 1;

    /// <summary>Inside SA, whose linear layers are frozen and save no inputs; of the attention over the text, queries and results (the rest is small).</summary>
    private const int SavedByFrozenBlock = 3 + 4 + 2 + 12;

    /// <summary>In a feed-forward, of both kinds: its norm's result, and what its linear layers and its gate save.</summary>
    private const int SavedByTrainedFeedForward = 1 + 8 + 4 + 4, SavedByFrozenFeedForward = 1 + 8 + 4;

    /// <summary>Of a LoRA on SA the inputs of q, k and v, which frozen layers do not save; what is between its matrices is thin.</summary>
    private const int SavedByLora = 2;

    /// <summary>Bytes of activations from which on fewer of them at once are worth processor time.</summary>
    private const long WorthSaving = 512 << 20;

    /// <summary>Gradients on their way through a feed-forward and around it.</summary>
    private const int PassingThroughTransformer = 20, PassingThroughConvolutions = 4;

    private readonly UNetConfig _config;
    private readonly List<Layer> _layers = [];
    private readonly long _values, _textValues;
    private readonly int _rank;
    private readonly bool _images, _joins, _halves;
    private int _part, _depth;

    /// <param name="config">Layout and widths.</param>
    /// <param name="batch">B.</param>
    /// <param name="frames">F.</param>
    /// <param name="height">h, of the latents.</param>
    /// <param name="width">w, of the latents.</param>
    /// <param name="tokens">N, of the text.</param>
    /// <param name="recompute">Whether what goes from part to part alone is kept, and the rest computed once more.</param>
    /// <param name="loraRank">Rank of a LoRA that is trained on TA in place of the temporal half; 0 for none.</param>
    /// <param name="images">Whether frames are images, the temporal half is passed by, and the LoRA is on the attentions of SA.</param>
    /// <param name="halves">Whether a stream beside the temporal one is of 16 bits: each of its values then counts half, but once more, and whole, where something trained keeps it.</param>
    public TrainingFootprint(UNetConfig config, long batch, long frames, long height, long width, long tokens, bool recompute = false,
        int loraRank = 0, bool images = false, bool halves = false)
    {
        Recomputes = recompute;
        (_config, _values, _textValues, _rank, _images) = (config, batch * frames * height * width, batch * tokens, loraRank, images);
        var plan = new UNetPlan(config);
        bool stream = config.Layout == UNetLayout.StreamParallel && !images;
        (_joins, _halves) = (config.JoinsStreams && stream, halves && stream);
        int first = config.BlockOutChannels[0], firstOfU = config.TemporalChannels(first), apart = plan.Up.Count - (_joins ? config.JoinedLevels : 0);

        Add(frozen: ParameterCount.Linear(first, config.TimeChannels) + ParameterCount.Linear(config.TimeChannels, config.TimeChannels));
        Add(frozen: ParameterCount.Convolution(config.InChannels, first, 9), beside: stream, held: OfS(Values(first, 0)));
        if (stream && firstOfU != first && !_joins)
            Add(trained: ParameterCount.Convolution(first, firstOfU, 1), saved: Widened(Values(first, 0)), held: Values(firstOfU, 0));
        else if (stream && !_joins)
            Add(held: Widened(Values(first, 0)));
        else if (images)
            Add(frozen: new TrainingFootprint(config, 0, 0, 0, 0, 0).Trained);
        else if (!stream && config.Motion is null)
        {
            int inner = config.InnerAttention(8 * (first / config.Heads(0)), heads: 8);
            Add(trained: ParameterCount.Transformer(first, inner, inner), saved: TemporalTransformer(first, inner, 0), held: Values(first, 0),
                passing: PassingThroughTransformer * Values(inner, 0), lora: ParameterCount.LoraOfTransformer(first, inner, inner, _rank));
        }
        for (int k = 0; k < plan.Down.Count; k++)
            AddLevel(plan.Down[k], k, stream);
        AddLevel(plan.Mid, plan.Down.Count - 1, stream);
        for (int k = 0; k < plan.Up.Count; k++)
        {
            if (stream && k == apart)
                AddJoin(plan.JoinedChannels(k).First(), plan.Up.Count - 1 - k);
            AddLevel(plan.Up[k], plan.Up.Count - 1 - k, stream && k < apart);
        }

        (_part, _depth) = (_part + 1, 0);
        long head = ParameterCount.Norm(first) + ParameterCount.Convolution(first, config.OutChannels, 9);
        if (_joins)
            Add(frozen: head, trained: head, held: 3 * Values(first, 0), passing: 2 * Values(first, 0));
        else if (stream)
            Add(frozen: head, trained: ParameterCount.Convolution(first + firstOfU, first, 1) + head,
                held: Values(first + firstOfU, 0) + 3 * Values(first, 0), passing: 3 * Values(first, 0));
        else
            Add(frozen: head, held: 2 * Values(first, 0), passing: 2 * Values(first, 0));
    }

    /// <summary>Whether each part is computed once more on the way back.</summary>
    public bool Recomputes { get; }

    /// <summary>The level from which on parts are kept nevertheless, as <see cref="VideoUNet.KeptDepth"/>.</summary>
    public int KeptDepth { get; init; } = int.MaxValue;

    /// <summary>Whether memory counts: activations are recomputed, or take more than 512 MiB. Then a step gives back what its forward pass holds unused.</summary>
    public bool ReturnsUnused => Recomputes || Activations * sizeof(float) > WorthSaving;

    /// <summary>Whether weights are moved, and their gradients forgotten, as soon as these are there.</summary>
    public bool UpdatesInBackward { get; init; }

    /// <summary>Parameters that are not trained: of the spatial half, or of all where a LoRA is.</summary>
    public long Frozen => _layers.Sum(layer => layer.Frozen);

    /// <summary>Of the frozen parameters those that are held in 16 bits.</summary>
    public long Narrow => _layers.Sum(layer => layer.Narrow);

    /// <summary>Parameters that are: of the temporal half, or of the LoRA.</summary>
    public long Trained => _layers.Sum(layer => layer.Trained);

    /// <summary>Trained parameters of the layer that has most.</summary>
    public long LargestTrained => _layers.Max(layer => layer.Trained);

    /// <summary>Gradients that are there at once.</summary>
    public long Gradients => UpdatesInBackward ? Parts().Max(part => part.Trained) : Trained;

    /// <summary>Values that the forward pass leaves, and those of the largest part that is recomputed.</summary>
    public long Activations => Recomputes ? Parts().Sum(Left) + Parts().Max(part => Again(part) / (Keeps(part) ? part.Pieces : 1))
        : _layers.Sum(layer => layer.Saved + layer.Held);

    /// <summary>The most values of a step beside weights and moments: somewhere on the way back, where the gradients of later layers are there.</summary>
    /// <param name="gradientsBefore">Gradients that are there from the start, of earlier batches.</param>
    /// <param name="ofKept">What a value that stays for the way back takes, 1 and what the allocator holds unused for it. Gradients, which stay till the end, take 1.</param>
    /// <param name="ofRecomputed">The same for a value of the part that is computed once more.</param>
    public long Peak(long gradientsBefore = 0, double ofKept = 1, double ofRecomputed = 1)
    {
        long gradients = gradientsBefore;
        double peak = 0;
        if (Recomputes || UpdatesInBackward)
        {
            long left = Parts().Sum(Left);
            foreach (var part in Parts().Reverse())
            {
                bool keeps = Keeps(part);
                double own = keeps ? ofKept * AtOnce(part) : ofRecomputed * (part.Saved + part.Held + part.Passing);
                peak = Math.Max(peak, ofKept * left + own + gradients + (UpdatesInBackward ? part.Trained : 0));
                left -= keeps && part.Depth < int.MaxValue && part.Trained > 0 ? Left(part) : 0;     // single results let go leave holes too small for what is recomputed
                gradients += UpdatesInBackward ? 0 : part.Trained;
            }
            return (long)Math.Max(peak, gradients);
        }
        long held = _layers.Sum(layer => layer.Held), saved = _layers.Sum(layer => layer.Saved);
        foreach (var layer in _layers.AsEnumerable().Reverse())
        {
            peak = Math.Max(peak, ofKept * (held + saved + layer.Passing) + gradients);
            saved -= layer.Saved;
            gradients += layer.Trained;
        }
        return (long)Math.Max(peak, ofKept * held + gradients);
    }

    /// <summary>The layers of a level, which is the one of index <paramref name="depth"/> from the outside, or the middle block at the innermost. Where
    /// <paramref name="stream"/>, u runs beside s.</summary>
    private void AddLevel(LevelPlan level, int depth, bool stream)
    {
        _depth = depth;
        int c = level.Channels, cu = stream ? _config.TemporalChannels(c) : c;
        long C(int channels) => Values(channels, depth);

        for (int i = 0; i < level.InChannels.Count; i++)
        {
            int width = level.InChannels[i], widthOfU = _config.TemporalChannels(width);
            bool attends = i < level.AttentionCount, entered = stream && !(level.IsMiddle && i > 0), joined = level.SkipChannels[i] > 0;

            if (_joins && !stream && joined)
                AddJoin(level.SkipChannels[i], depth);
            _depth = depth;

            // SC and SA, with [s; skip] before them. In one stream gradients cross them, so they save what they need for that; else the result alone stays.
            // Where they are trained, the image model's are there besides.
            bool summed = _config.Layout == UNetLayout.LayerParallel, inParts = !stream && !summed;
            bool copied = _joins && !stream && _config.TrainsSpace, moved = copied && _rank == 0;
            _part++;
            _depth = stream || !_joins ? depth : int.MaxValue;
            long resnet = ParameterCount.Resnet(width, c, _config.TimeChannels), transformer = ParameterCount.Transformer(c, c, _config.CrossAttentionDim);
            Add(frozen: resnet, beside: stream, trained: copied ? resnet : 0, saved: stream ? 0 : (moved ? 3 : 2) * C(width) + (moved ? 4 : 3) * C(c),
                held: stream ? OfS(C(c)) : C(c) + (joined ? C(width) : 0), passing: stream ? 0 : C(c) * PassingThroughConvolutions, result: stream ? OfS(C(c)) : C(c));
            if (attends)
            {
                (_part, _depth) = (_part + (inParts ? 1 : 0), depth);
                Add(frozen: transformer, beside: stream, trained: copied ? transformer : 0, lora: _images ? ParameterCount.LoraOfAttentions(c, _config.CrossAttentionDim, _rank) : 0,
                    saved: stream ? 0 : moved ? TemporalTransformer(c, c, depth) : SavedBySpatialTransformer(c, depth), held: stream ? 0 : C(c), passing: stream ? 0 : C(c) * PassingThroughTransformer,
                    result: inParts ? C(c) : 0,
                    brief: _joins && !stream ? (moved ? SavedByTrainedFeedForward : SavedByFrozenFeedForward) * C(c) : 0, pieces: Recomputation.Pieces);
            }
            if (_images)
                continue;
            _depth = depth;
            _part += summed ? 0 : 1;

            // P, L and the sum, with [u; skip] before them.
            if (entered)
            {
                bool projects = widthOfU != cu, lateral = _config.Lateral == Lateral.Convolution;
                Add(trained: (projects ? ParameterCount.Convolution(widthOfU, cu, 1) : 0) + (lateral ? ParameterCount.Convolution(c, cu, 1) : 0),
                    saved: lateral ? Widened(C(c)) : 0, held: (joined ? C(widthOfU) : 0) + C(cu) * ((projects ? 1 : 0) + (lateral ? 1 : 0) + 1));
            }

            // TC and TA; in LayerParallel the sums, too.
            int inner = _config.Inner(cu), innerOfTA = stream ? cu : _config.InnerAttention(cu, level.Heads);
            if (_config.Motion is null)
                Add(trained: ParameterCount.TemporalConvolution(cu, inner, summed ? width : null), result: summed ? 0 : C(cu),
                    saved: SavedByConvolution * (C(cu) + 3 * C(inner) + (summed ? C(width) : 0)),
                    held: C(cu) * (summed && !(level.IsMiddle && i == 0) ? 2 : 1), passing: PassingThroughConvolutions * C(cu),
                    brief: inParts ? SavedByConvolution * (C(cu) + 3 * C(inner)) : 0);
            if (_config.Motion is { } motion ? !level.IsMiddle || (motion.Middle && i == 0) : attends)
            {
                _part += inParts ? 1 : 0;
                int context = _config is { Motion: null, TemporalText: true } ? _config.CrossAttentionDim : innerOfTA;
                Add(trained: ParameterCount.Transformer(cu, innerOfTA, context), lora: ParameterCount.LoraOfTransformer(cu, innerOfTA, context, _rank),
                    saved: TemporalTransformer(cu, innerOfTA, depth), held: C(cu) * (summed ? 2 : 1), passing: PassingThroughTransformer * C(innerOfTA),
                    result: inParts ? C(cu) : 0, brief: _joins && !stream ? SavedByTrainedFeedForward * C(innerOfTA) : 0, pieces: Recomputation.Pieces);
            }
        }

        if (level.Downsamples)
            AddResampling(Values(1, depth + 1), interpolated: 0);
        if (level.Upsamples)
            AddResampling(Values(1, depth - 1), interpolated: Values(1, depth - 1));

        // A convolution's result, and on the way up what was interpolated for it.
        void AddResampling(long perChannel, long interpolated)
        {
            (_part, _depth) = (_part + 1, int.MaxValue);
            bool convolves = stream && _config.Resampling == Resampling.Convolution;
            bool copied = _joins && !stream && _config.TrainsSpace;
            long ofS = (perChannel + interpolated) * c, held = (stream ? OfS(ofS) : ofS) + (stream ? (perChannel + (convolves ? interpolated : 0)) * cu : 0);
            Add(frozen: ParameterCount.Convolution(c, c, 9), beside: stream, trained: convolves || copied ? ParameterCount.Convolution(cu, cu, 9) : 0, held: held, result: held);
        }
    }

    /// <summary>s + u, with a convolution before where u is narrower.</summary>
    private void AddJoin(int channels, int depth)
    {
        (_part, _depth) = (_part + 1, int.MaxValue);
        int channelsOfU = _config.TemporalChannels(channels);
        bool projects = channelsOfU != channels;
        Add(trained: projects ? (long)channels * channelsOfU : 0, held: Values(channels, depth) * (projects ? 2 : 1), result: Values(channels, depth));
    }

    /// <summary>SA: the block, and where projections are convolutions, which save their inputs, those two.</summary>
    private long SavedBySpatialTransformer(int channels, int depth) => (SavedByFrozenBlock + (_config.HasLinearProjections ? 0 : 2)
        + (_images ? SavedByLora : 0)) * Values(channels, depth) + 2 * _textValues * channels;

    /// <summary>TA, or SA where it is trained: the norm's input in the order of its sums and the projection's in that of the frames, then the block.</summary>
    private long TemporalTransformer(int channels, int inner, int depth) => 2 * Values(channels, depth) + SavedByTrainedBlock * Values(inner, depth);

    /// <summary>B·F·C·h·w at a depth.</summary>
    private long Values(int channels, int depth) => channels * Math.Max(1, _values >> (2 * depth));

    /// <summary>Values of the spatial stream, beside the temporal one.</summary>
    private long OfS(long values) => _halves ? values / 2 : values;

    /// <summary>The same where they are widened and kept so.</summary>
    private long Widened(long values) => _halves ? values : 0;

    /// <summary>Counts a layer, whose frozen parameters may be those of the stream beside; where a LoRA is trained, what would be trained otherwise is frozen.</summary>
    private void Add(long frozen = 0, long trained = 0, long saved = 0, long held = 0, long passing = 0, long result = 0, long lora = 0, bool beside = false, long brief = 0, long pieces = 1)
        => _layers.Add(new Layer(_part, _depth, _rank == 0 ? frozen : frozen + trained, _rank == 0 ? trained : lora, saved, held, passing, result,
            beside && _halves ? frozen : 0, brief, pieces));

    private bool Keeps(Layer part) => !Recomputes || part.Depth >= KeptDepth;

    /// <summary>What the forward pass leaves of a part: its result, or, where it is kept, all.</summary>
    private long Left(Layer part) => Keeps(part) ? Math.Max(part.Result, part.Saved + part.Held - Again(part)) : part.Result;

    /// <summary>What is there of a part once it is computed once more: all, or, where it is kept, what is not even then.</summary>
    private long Again(Layer part) => !Recomputes ? 0 : !Keeps(part) ? part.Saved + part.Held : KeptDepth == 0 ? part.Brief : 0;

    /// <summary>What is there besides on the way back through a part that is kept.</summary>
    private long AtOnce(Layer part) => Again(part) == 0 ? part.Passing : (Again(part) + part.Passing) / part.Pieces;

    /// <summary>The layers that are recomputed together, as one.</summary>
    private IEnumerable<Layer> Parts() => _layers.GroupBy(layer => layer.Part).Select(part => new Layer(part.Key, part.First().Depth, part.Sum(layer => layer.Frozen),
        part.Sum(layer => layer.Trained), part.Sum(layer => layer.Saved), part.Sum(layer => layer.Held), part.Max(layer => layer.Passing),
        part.Sum(layer => layer.Result), 0, part.Sum(layer => layer.Brief), part.Max(layer => layer.Pieces)));

    /// <summary>Parameters, values that its forward pass leaves and that pass by in its backward, and those that go on to the next part.</summary>
    private readonly record struct Layer(
        int Part, int Depth, long Frozen, long Trained, long Saved, long Held, long Passing, long Result, long Narrow = 0, long Brief = 0, long Pieces = 1);
}
