using Microsoft.ML.Mobius.Layers;
using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.UNet;

/// <summary>
/// The trained half of a video U-Net. In every layout it holds TC and TA with the names and shapes of diffusers' UNet3DConditionModel; in
/// LayerParallel TC's "proj_conv" besides, and in StreamParallel what makes it a stream of its own: P, L, Down_u, Up_u and the state fusion.
/// </summary>
internal sealed class TemporalStream : nn.Module
{
    [ComponentName(Name = "transformer_in")] private readonly TemporalTransformer? _transformerIn;
    [ComponentName(Name = "down_blocks")] private readonly ModuleList<TemporalBlock> _down;
    [ComponentName(Name = "mid_block")] private readonly TemporalBlock _mid;
    [ComponentName(Name = "up_blocks")] private readonly ModuleList<TemporalBlock> _up;
    [ComponentName(Name = "state_fusion")] private readonly StateFusion? _fusion;
    [ComponentName(Name = "stream_in")] private readonly Conv2d? _narrow;

    public TemporalStream(UNetConfig config) : base(nameof(TemporalStream))
    {
        var plan = new UNetPlan(config);
        int first = config.BlockOutChannels[0];
        bool stream = config.Layout == UNetLayout.StreamParallel;
        if (config.Motion is not null && config.Layout != UNetLayout.Serial)
            throw new ArgumentException($"Motion modules are layers of the Serial layout, and the layout is {config.Layout}.", nameof(config));

        // T_in is transformer_in (8 heads of the usual size) where there is one stream, and the identity in StreamParallel and between motion modules.
        _transformerIn = stream || config.Motion is not null ? null
            : new TemporalTransformer(first, heads: 8, config.TemporalNormGroups, innerChannels: config.InnerAttention(8 * (first / config.Heads(0)), heads: 8));
        _narrow = stream && config.TemporalWidthDivisor > 1 ? nn.Conv2d(first, config.TemporalChannels(first), 1) : null;
        _down = nn.ModuleList([.. plan.Down.Select(level => new TemporalBlock(config, level))]);
        _mid = new TemporalBlock(config, plan.Mid);
        _up = nn.ModuleList([.. plan.Up.Select(level => new TemporalBlock(config, level))]);
        _fusion = stream ? new StateFusion(config) : null;
        RegisterComponents();

        // In one stream with the frozen layers, temporal layers must start as the identity, or they would disturb the image model. (In
        // LayerParallel they still do, for there the sum of two identities is twice the stream.)
        if (!stream)
            foreach (var (_, module) in named_modules())
                (module as TemporalTransformer)?.StartAsIdentity();
    }

    public ModuleList<TemporalBlock> Down() => _down;

    public TemporalBlock Mid() => _mid;

    public ModuleList<TemporalBlock> Up() => _up;

    public StateFusion Fusion() => _fusion ?? throw new InvalidOperationException("Only the StreamParallel layout has a state fusion.");

    /// <summary>T_in(h0), [B·F, C, h, w].</summary>
    public Tensor In(Tensor h0, long frames) => _transformerIn?.call(h0, frames, null) ?? _narrow?.call(h0) ?? h0.alias();
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
    private readonly bool _takesText;

    public TemporalBlock(UNetConfig config, LevelPlan level) : base(nameof(TemporalBlock))
    {
        int channels = config.TemporalChannels(level.Channels);
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

        if (config.Layout == UNetLayout.StreamParallel)
        {
            int entries = level.IsMiddle ? 1 : layers;                       // the spatial stream enters the middle block once
            var widths = Enumerable.Range(0, entries).Select(i => config.TemporalChannels(level.InChannels[i])).ToArray();
            if (widths.Any(width => width != channels))
                _projections = nn.ModuleDict([.. widths.Select((width, i) => ($"{i}", width)).Where(p => p.width != channels)
                    .Select(p => (p.Item1, nn.Conv2d(p.width, channels, 1)))]);
            if (config.Lateral == Lateral.Convolution)
                _laterals = nn.ModuleList([.. Enumerable.Range(0, entries).Select(_ => IdentityConvolution(level.Channels, channels))]);
            _downsamplers = level.Downsamples ? nn.ModuleList(new Downsampler(channels)) : null;
            _upsamplers = level.Upsamples ? nn.ModuleList(new Upsampler(channels)) : null;
        }
        RegisterComponents();
    }

    /// <summary>TC(x), or x between motion modules.</summary>
    public Tensor Convolution(int i, Tensor x, long frames) => _convolutions?[i].call(x, frames) ?? x;

    /// <summary>TA(x), or x where the level has no temporal attention.</summary>
    public Tensor Attention(int i, Tensor x, long frames, Tensor text) => _attentions?[i].call(x, frames, _takesText ? text : null) ?? x;

    /// <summary>TA(TC(P(u) + L(s))).</summary>
    public Tensor Layer(int i, Tensor u, Tensor s, long frames, Tensor text)
    {
        using var scope = NewDisposeScope();
        return Attention(i, Convolution(i, Project(i, u) + Enter(i, s), frames), frames, text).MoveToOuterDisposeScope();
    }

    /// <summary>TC(TA(TC(P(u) + L(s)))).</summary>
    public Tensor Middle(Tensor u, Tensor s, long frames, Tensor text)
    {
        using var scope = NewDisposeScope();
        return Convolution(1, Layer(0, u, s, frames, text), frames).MoveToOuterDisposeScope();
    }

    public Tensor Downsample(Tensor u) => _downsamplers![0].call(u);

    public Tensor Upsample(Tensor u, long[] size) => _upsamplers![0].call(u, size);

    private Tensor Project(int i, Tensor u) => _projections is not null && _projections.ContainsKey($"{i}") ? _projections[$"{i}"].call(u) : u;

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
/// network is the image model.
/// </summary>
internal sealed class StateFusion : nn.Module<Tensor, Tensor, Tensor>
{
    [ComponentName(Name = "proj")] private readonly Conv2d _projection;
    [ComponentName(Name = "conv_norm_out")] private readonly GroupNorm _normOut;
    [ComponentName(Name = "conv_out")] private readonly Conv2d _convOut;

    public StateFusion(UNetConfig config) : base(nameof(StateFusion))
    {
        int channels = config.BlockOutChannels[0];
        _projection = nn.Conv2d(channels + config.TemporalChannels(channels), channels, 1);
        nn.init.dirac_(_projection.weight!);
        nn.init.zeros_(_projection.bias!);
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
    /// <param name="u">[B·F, C_u, h, w].</param>
    /// <returns>[B·F, c, h, w].</returns>
    public override Tensor forward(Tensor s, Tensor u)
    {
        var f = _projection.call(cat([s, u], 1));
        return _convOut.call(nn.functional.silu(_normOut.call(f)));
    }
}
