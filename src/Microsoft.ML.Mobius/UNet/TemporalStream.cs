using Microsoft.ML.Mobius.Layers;
using Microsoft.ML.Mobius.Torch;
using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.UNet;

/// <summary>
/// The trained half of a video U-Net. In every layout it holds TC and TA with the names and shapes of diffusers' UNet3DConditionModel; in
/// LayerParallel TC's "proj_conv" besides, and in StreamParallel what makes it a stream of its own: P, L, Down_u, Up_u and the state fusion, and, where the spatial layers
/// of joined levels are trained, copies of those.
/// </summary>
/// <remarks>
/// With joined levels, u is the sum of what the temporal layers add to s: it starts as zero, each layer takes P(u) + L(s) and gives what it adds, and P, Down_u and
/// Up_u start as the linear layers that s goes through. So all temporal layers learn from the first step, where W_f, zero at first, would let none.
/// </remarks>
internal sealed class TemporalStream : nn.Module
{
    [ComponentName(Name = "transformer_in")] private readonly TemporalTransformer? _transformerIn;
    [ComponentName(Name = "down_blocks")] private readonly ModuleList<TemporalBlock> _down;
    [ComponentName(Name = "mid_block")] private readonly TemporalBlock _mid;
    [ComponentName(Name = "up_blocks")] private readonly ModuleList<TemporalBlock> _up;
    [ComponentName(Name = "state_fusion")] private readonly StateFusion? _fusion;
    [ComponentName(Name = "stream_in")] private readonly Conv2d? _narrow;
    [ComponentName(Name = "temp_joins")] private readonly ModuleList<Conv2d>? _joins;
    [ComponentName(Name = "joined_blocks")] private readonly ModuleList<SpatialBlock>? _space;
    private readonly UNetConfig _config;

    public TemporalStream(UNetConfig config) : base(nameof(TemporalStream))
    {
        _config = config;
        var plan = new UNetPlan(config);
        int first = config.BlockOutChannels[0], apart = plan.Up.Count - (config.JoinsStreams ? config.JoinedLevels : 0);
        bool stream = config.Layout == UNetLayout.StreamParallel;
        if (config.Motion is not null && config.Layout != UNetLayout.Serial)
            throw new ArgumentException($"Motion modules are layers of the Serial layout, and the layout is {config.Layout}.", nameof(config));

        // T_in is transformer_in (8 heads of the usual size) where there is one stream, the identity in StreamParallel and between motion modules; and zero where
        // u is joined.
        _transformerIn = stream || config.Motion is not null ? null
            : new TemporalTransformer(first, heads: 8, config.TemporalNormGroups, innerChannels: config.InnerAttention(8 * (first / config.Heads(0)), heads: 8));
        _narrow = stream && !config.JoinsStreams && config.TemporalWidthDivisor > 1 ? nn.Conv2d(first, config.TemporalChannels(first), 1) : null;
        _down = nn.ModuleList([.. plan.Down.Select(level => new TemporalBlock(config, level, stream))]);
        _mid = new TemporalBlock(config, plan.Mid, stream);
        _up = nn.ModuleList([.. plan.Up.Select((level, k) => new TemporalBlock(config, level, stream && k < apart))]);
        _joins = config.JoinsStreams && config.TemporalWidthDivisor > 1 ? nn.ModuleList([.. plan.JoinedChannels(apart)
            .Select(channels => nn.Conv2d(config.TemporalChannels(channels), channels, 1, bias: false))]) : null;
        _space = config.TrainsSpace ? nn.ModuleList([.. plan.Up.Skip(apart).Select(level => new SpatialBlock(config, level))]) : null;
        _fusion = stream ? new StateFusion(config) : null;
        RegisterComponents();

        // In one stream with the frozen layers, temporal layers must start as the identity, or they would disturb the image model. (In
        // LayerParallel they still do, for there the sum of two identities is twice the stream.) And what is added to s must start as zero.
        if (!stream || config.JoinsStreams)
            foreach (var (_, module) in named_modules())
                (module as TemporalTransformer)?.StartAsIdentity();
    }

    public ModuleList<TemporalBlock> Down() => _down;

    public TemporalBlock Mid() => _mid;

    public ModuleList<TemporalBlock> Up() => _up;

    public StateFusion Fusion() => _fusion ?? throw new InvalidOperationException("Only the StreamParallel layout has a state fusion.");

    /// <summary>The trained spatial layers of the joined levels; none where those of the image model serve.</summary>
    public IReadOnlyList<SpatialBlock> Space() => [.. _space ?? []];

    /// <summary>
    /// The share of the learning rate at which a parameter of that name moves: a quarter of it where it is of a copy, which has learnt already. (Of 1/2 and 1/4 the better on drawn
    /// clips, and 1 % below 1/2 on others, by the report on quality.)
    /// </summary>
    public double RateOf(string name) => _space is not null && name.StartsWith("joined_blocks.", StringComparison.Ordinal) ? 0.25 : 1;

    /// <summary>Lets layers of the two streams that do the same to each start the same: the head, and with joined levels these and what u is led through as s is.</summary>
    public void StartFrom(SpatialStream spatial)
    {
        Fusion().StartFrom(spatial);
        foreach (var (own, that) in Space().Reverse().Zip(spatial.Up().Reverse()))
            own.StartFrom(that);
        if (_config.JoinsStreams)
            foreach (var (space, time) in spatial.Down().Append(spatial.Mid()).Concat(spatial.Up()).Zip(_down.Append(_mid).Concat(_up)))
                time.StartFrom(space);
    }

    /// <summary>T_in(h0), [B·F, C, h, w].</summary>
    public Tensor In(Tensor h0, long frames) => _transformerIn?.call(h0, frames, null) ?? _narrow?.call(h0)
        ?? (_config.JoinsStreams ? zeros([h0.shape[0], _config.TemporalChannels((int)h0.shape[1]), .. h0.shape[2..]], h0.dtype, h0.device) : h0.clone());

    /// <summary>s + u, where the streams become one.</summary>
    /// <param name="i">0, and for the skips 1 and on.</param>
    /// <param name="s">[B·F, C, h, w].</param>
    /// <param name="u">[B·F, C_u, h, w].</param>
    public Tensor Join(int i, Tensor s, Tensor u) => s + (_joins?[i].call(u) ?? u);
}

/// <summary>The temporal layers of one level.</summary>
internal sealed class TemporalBlock : nn.Module
{
    [ComponentName(Name = "temp_convs")] private readonly ModuleList<TemporalConvolution>? _convolutions;
    [ComponentName(Name = "temp_attentions")] private readonly ModuleList<TemporalTransformer>? _attentions;
    [ComponentName(Name = "temp_projections")] private readonly ModuleDict<Conv2d>? _projections;
    [ComponentName(Name = "laterals")] private readonly ModuleList<Conv2d>? _laterals;
    [ComponentName(Name = "temp_downsamplers")] private readonly ModuleList<Downsampler>? _downsamplers;
    [ComponentName(Name = "temp_upsamplers")] private readonly ModuleList<Upsampler>? _upsamplers;
    private readonly bool _takesText, _adds;

    /// <param name="config">Layout and widths.</param>
    /// <param name="level">Its level.</param>
    /// <param name="apart">Whether it is of a stream beside the spatial one.</param>
    public TemporalBlock(UNetConfig config, LevelPlan level, bool apart) : base(nameof(TemporalBlock))
    {
        int channels = apart ? config.TemporalChannels(level.Channels) : level.Channels;
        _adds = config.JoinsStreams;
        int groups = Gcd(config.NormNumGroups, channels), layers = level.InChannels.Count;
        int heads = Math.Max(1, level.Heads * channels / level.Channels);
        int groupsOfTime = Gcd(config.TemporalNormGroups, channels);
        bool summed = config.Layout == UNetLayout.LayerParallel;
        if (config.Motion is { } motion)
        {
            int count = level.IsMiddle ? (motion.Middle ? 1 : 0) : layers;
            _attentions = count == 0 ? null : nn.ModuleList([.. Enumerable.Range(0, count)
                .Select(_ => new TemporalTransformer(channels, motion.Heads, motion.NormNumGroups, frameLimit: motion.FrameLimit))]);
        }
        else
        {
            _takesText = config.TemporalText;
            _convolutions = nn.ModuleList([.. Enumerable.Range(0, layers)
                .Select(i => new TemporalConvolution(channels, groupsOfTime, inChannels: summed ? level.InChannels[i] : null, innerChannels: config.Inner(channels)))]);
            _attentions = level.AttentionCount == 0 ? null : nn.ModuleList([.. Enumerable.Range(0, level.AttentionCount)
                .Select(_ => new TemporalTransformer(channels, heads, groups, innerChannels: config.InnerAttention(channels, heads),
                    contextChannels: config.TemporalText ? config.CrossAttentionDim : null, positions: config.FramePositions))]);
        }

        if (summed)
            for (int i = 0; i < layers; i++)
                if (level.IsMiddle && i == 0)
                    _convolutions![i].StartAsPassage();               // the one that stands after its resnet, not beside it
                else
                    _convolutions![i].StartAtZero();

        if (apart)
        {
            int entries = level.IsMiddle ? 1 : layers;                       // the spatial stream enters the middle block once
            var widths = Enumerable.Range(0, entries).Select(i => config.TemporalChannels(level.InChannels[i])).ToArray();
            if (widths.Any(width => width != channels))
                _projections = nn.ModuleDict([.. widths.Select((width, i) => ($"{i}", width)).Where(p => p.width != channels)
                    .Select(p => (p.Item1, nn.Conv2d(p.width, channels, 1)))]);
            if (config.Lateral == Lateral.Convolution)
                _laterals = nn.ModuleList([.. Enumerable.Range(0, entries).Select(_ => IdentityConvolution(level.Channels, channels))]);
            bool convolves = config.Resampling == Resampling.Convolution;
            _downsamplers = level.Downsamples && convolves ? nn.ModuleList(new Downsampler(channels)) : null;
            _upsamplers = level.Upsamples && convolves ? nn.ModuleList(new Upsampler(channels)) : null;
        }
        RegisterComponents();
    }

    /// <summary>TC(x), or x between motion modules; a new tensor in any case.</summary>
    public Tensor Convolution(int i, Tensor x, long frames) => _convolutions?[i].call(x, frames) ?? x.alias();

    /// <summary>TA(x), or x where the level has no temporal attention; a new tensor in any case.</summary>
    public Tensor Attention(int i, Tensor x, long frames, Tensor text) => _attentions?[i].call(x, frames, _takesText ? text : null) ?? x.alias();

    /// <summary>TA(TC(P([u; skip]) + L(s))); with joined levels, what that adds to L(s).</summary>
    /// <param name="i">Number of the layer.</param>
    /// <param name="u">u, and its skip on the way up.</param>
    /// <param name="s">[B·F, C, h, w].</param>
    /// <param name="frames">F.</param>
    /// <param name="text">[B, N, D].</param>
    public Tensor Layer(int i, Tensor[] u, Tensor s, long frames, Tensor text)
    {
        using var scope = NewDisposeScope();
        var l = Enter(i, s);
        var x = Passing.Through(() => Convolution(i, Project(i, u) + l, frames));
        return Added(Attention(i, x, frames, text), l).MoveToOuterDisposeScope();
    }

    /// <summary>TC(TA(TC(P(u) + L(s)))); with joined levels, what that adds to L(s).</summary>
    public Tensor Middle(Tensor u, Tensor s, long frames, Tensor text)
    {
        using var scope = NewDisposeScope();
        var l = Enter(0, s);
        var x = Attention(0, Convolution(0, Project(0, [u]) + l, frames), frames, text);
        return Added(Convolution(1, x, frames), l).MoveToOuterDisposeScope();
    }

    /// <summary>Lets P, Down_u and Up_u start as the linear layers that s goes through, or, where u is narrower, as they are but without a bias.</summary>
    public void StartFrom(SpatialBlock spatial)
    {
        using var _ = no_grad();
        for (int i = 0; i < spatial.LayerCount(); i++)
            if (_projections is not null && _projections.ContainsKey($"{i}"))
                Start(_projections[$"{i}"], spatial.Shortcut(i));
        foreach (var (own, that) in (_downsamplers ?? []).Zip(spatial.Downsamplers()))
            Start(own.Convolution(), that.Convolution());
        foreach (var (own, that) in (_upsamplers ?? []).Zip(spatial.Upsamplers()))
            Start(own.Convolution(), that.Convolution());

        static void Start(Conv2d own, Conv2d that)
        {
            if (own.weight!.shape.SequenceEqual(that.weight!.shape))
                own.weight.copy_(that.weight);
            own.bias!.zero_();
        }
    }

    /// <summary>Down_u, [N, C_u, h, w] to [N, C_u, ⌈h/2⌉, ⌈w/2⌉].</summary>
    public Tensor Downsample(Tensor u) => _downsamplers?[0].call(u) ?? nn.functional.avg_pool2d(u, 2, ceil_mode: true);

    /// <summary>Up_u, up to that height and width.</summary>
    public Tensor Upsample(Tensor u, long[] size) => _upsamplers?[0].call(u, size) ?? nn.functional.interpolate(u, size: size, mode: InterpolationMode.Nearest);

    /// <summary>P([u; skip]), summed from the products of each: joined, both would be kept a second time for the way back.</summary>
    private Tensor Project(int i, Tensor[] u)
    {
        if (_projections is null || !_projections.ContainsKey($"{i}"))
            return u[0];
        var (weight, bias, from) = (_projections[$"{i}"].weight!, _projections[$"{i}"].bias, 0L);
        return u.Select(Product).Aggregate((sum, one) => sum + one);

        Tensor Product(Tensor x, int number)
        {
            var own = weight.narrow(1, from, x.shape[1]);
            from += x.shape[1];
            return nn.functional.conv2d(x, own, number == 0 ? bias : null);
        }
    }

    private Tensor Added(Tensor x, Tensor l) => _adds ? x - l : x;

    private Tensor Enter(int i, Tensor s) => _laterals?[i].call(s) ?? s;

    private static Conv2d IdentityConvolution(int inChannels, int outChannels)
    {
        var convolution = nn.Conv2d(inChannels, outChannels, 1);
        nn.init.dirac_(convolution.weight!);
        nn.init.zeros_(convolution.bias!);
        return convolution;
    }

    private static int Gcd(int a, int b) => b == 0 ? a : Gcd(b, a % b);
}

/// <summary>
/// f = W_f [s; u], then the head conv_out(SiLU(GN(f))), a trained copy of the image model's. W_f starts as [I, 0], so at the start the
/// network is the image model. Where the streams are one already, the head alone.
/// </summary>
internal sealed class StateFusion : nn.Module<Tensor, Tensor?, Tensor>
{
    [ComponentName(Name = "proj")] private readonly Conv2d? _projection;
    [ComponentName(Name = "conv_norm_out")] private readonly GroupNorm _normOut;
    [ComponentName(Name = "conv_out")] private readonly Conv2d _convOut;

    public StateFusion(UNetConfig config) : base(nameof(StateFusion))
    {
        int channels = config.BlockOutChannels[0];
        if (!config.JoinsStreams)
        {
            _projection = nn.Conv2d(channels + config.TemporalChannels(channels), channels, 1);
            nn.init.dirac_(_projection.weight!);
            nn.init.zeros_(_projection.bias!);
        }
        _normOut = Norms.Group(config.NormNumGroups, channels, config.NormEps);
        _convOut = nn.Conv2d(channels, config.OutChannels, 3, padding: 1);
        RegisterComponents();
    }

    /// <summary>Copies the head of the image model.</summary>
    public void StartFrom(SpatialStream spatial)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var (norm, conv) = spatial.HeadLayers();
        _normOut.weight!.copy_(norm.weight!);
        _normOut.bias!.copy_(norm.bias!);
        _convOut.weight!.copy_(conv.weight!);
        _convOut.bias!.copy_(conv.bias!);
    }

    /// <param name="s">[B·F, C, h, w].</param>
    /// <param name="u">[B·F, C_u, h, w]; null where the streams are one.</param>
    /// <returns>[B·F, c, h, w].</returns>
    public override Tensor forward(Tensor s, Tensor? u)
    {
        var f = _projection is null ? s : _projection.call(cat([s, u!], 1));
        return _convOut.call(nn.functional.silu(_normOut.call(f)));
    }
}
