using Microsoft.ML.Mobius.Layers;
using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.UNet;

/// <summary>
/// The text-to-image U-Net, diffusers' UNet2DConditionModel: a network of its own, and the spatial half of every video layout.
/// N images (B·F frames), C channels, h and w latent height and width, e time embedding, c text states.
/// </summary>
internal sealed class SpatialStream : nn.Module<Tensor, Tensor, Tensor, Tensor>
{
    [ComponentName(Name = "conv_in")] private readonly Conv2d _convIn;
    [ComponentName(Name = "time_embedding")] private readonly TimestepEmbedding _timeEmbedding;
    [ComponentName(Name = "down_blocks")] private readonly ModuleList<SpatialBlock> _down;
    [ComponentName(Name = "mid_block")] private readonly SpatialBlock _mid;
    [ComponentName(Name = "up_blocks")] private readonly ModuleList<SpatialBlock> _up;
    [ComponentName(Name = "conv_norm_out")] private readonly GroupNorm _normOut;
    [ComponentName(Name = "conv_out")] private readonly Conv2d _convOut;

    public SpatialStream(UNetConfig config) : base(nameof(SpatialStream))
    {
        var plan = new UNetPlan(config);
        int first = config.BlockOutChannels[0];
        _convIn = nn.Conv2d(config.InChannels, first, 3, padding: 1);
        _timeEmbedding = new TimestepEmbedding(first, config.TimeChannels);
        _down = nn.ModuleList([.. plan.Down.Select(level => new SpatialBlock(config, level))]);
        _mid = new SpatialBlock(config, plan.Mid);
        _up = nn.ModuleList([.. plan.Up.Select(level => new SpatialBlock(config, level))]);
        _normOut = Norms.Group(config.NormNumGroups, first, config.NormEps);
        _convOut = nn.Conv2d(first, config.OutChannels, 3, padding: 1);
        RegisterComponents();
    }

    public ModuleList<SpatialBlock> Down() => _down;

    public SpatialBlock Mid() => _mid;

    public ModuleList<SpatialBlock> Up() => _up;

    public Conv2d InLayer() => _convIn;

    public (GroupNorm Norm, Conv2d Conv) HeadLayers() => (_normOut, _convOut);

    /// <summary>z [N, c, h, w] -> h0 [N, C, h, w].</summary>
    public Tensor ConvIn(Tensor z) => _convIn.call(z);

    /// <summary>t [B] -> e [B·frames, E]. Repeated first: products of one row and of several round differently, and frames are to be as images are.</summary>
    public Tensor TimeEmbedding(Tensor t, long frames) => _timeEmbedding.call(t.repeat_interleave(frames));

    /// <summary>conv_out(SiLU(GN(f))): [N, C, h, w] -> [N, c, h, w].</summary>
    public Tensor Head(Tensor f) => _convOut.call(nn.functional.silu(_normOut.call(f)));

    /// <summary>The text-to-image model itself.</summary>
    /// <param name="z">Noisy latents, [N, c, h, w].</param>
    /// <param name="t">Time steps, [N] int64.</param>
    /// <param name="text">[N, M, D].</param>
    /// <returns>Predicted noise, [N, c, h, w].</returns>
    public override Tensor forward(Tensor z, Tensor t, Tensor text)
    {
        var e = TimeEmbedding(t, 1);
        var skips = new Stack<Tensor>();
        var s = ConvIn(z);
        skips.Push(s);
        foreach (var level in _down)
        {
            for (int i = 0; i < level.LayerCount(); i++)
                skips.Push(s = level.Layer(i, s, e, text));
            if (level.HasDownsampler())
                skips.Push(s = level.Downsample(s));
        }
        s = _mid.Middle(s, e, text);
        foreach (var level in _up)
        {
            for (int i = 0; i < level.LayerCount(); i++)
                s = level.Layer(i, cat([s, skips.Pop()], 1), e, text);
            if (level.HasUpsampler())
                s = level.Upsample(s, skips.Peek().shape[2..]);
        }
        return Head(s);
    }
}

/// <summary>The spatial layers of one level: diffusers' (CrossAttn)DownBlock2D, UNetMidBlock2DCrossAttn and (CrossAttn)UpBlock2D.</summary>
internal sealed class SpatialBlock : nn.Module
{
    [ComponentName(Name = "resnets")] private readonly ModuleList<ResnetBlock> _resnets;
    [ComponentName(Name = "attentions")] private readonly ModuleList<SpatialTransformer>? _attentions;
    [ComponentName(Name = "downsamplers")] private readonly ModuleList<Downsampler>? _downsamplers;
    [ComponentName(Name = "upsamplers")] private readonly ModuleList<Upsampler>? _upsamplers;

    public SpatialBlock(UNetConfig config, LevelPlan level) : base(nameof(SpatialBlock))
    {
        Depth = level.Depth;
        int channels = level.Channels;
        _resnets = nn.ModuleList([.. level.InChannels
            .Select(width => new ResnetBlock(width, channels, config.TimeChannels, config.NormNumGroups, config.NormEps))]);
        _attentions = level.AttentionCount == 0 ? null : nn.ModuleList([.. Enumerable.Range(0, level.AttentionCount)
            .Select(_ => new SpatialTransformer(
                channels, level.Heads, config.CrossAttentionDim, config.NormNumGroups, config.HasLinearProjections))]);
        _downsamplers = level.Downsamples ? nn.ModuleList(new Downsampler(channels)) : null;
        _upsamplers = level.Upsamples ? nn.ModuleList(new Upsampler(channels)) : null;
        RegisterComponents();
    }

    /// <summary>Number of the level from the outside.</summary>
    public readonly int Depth;

    public int LayerCount() => _resnets.Count;

    /// <summary>The linear way around SC, of a layer whose width changes.</summary>
    public Conv2d Shortcut(int i) => _resnets[i].Shortcut();

    public IReadOnlyList<Downsampler> Downsamplers() => [.. _downsamplers ?? []];

    public IReadOnlyList<Upsampler> Upsamplers() => [.. _upsamplers ?? []];

    public bool HasAttention() => _attentions is not null;

    public bool HasDownsampler() => _downsamplers is not null;

    public bool HasUpsampler() => _upsamplers is not null;

    /// <summary>Copies the weights of a block of the same widths.</summary>
    public void StartFrom(SpatialBlock that)
    {
        using var _ = no_grad();
        foreach (var (own, weight) in parameters().Zip(that.parameters()))
            own.copy_(weight);
    }

    /// <summary>SC(x, e).</summary>
    public Tensor Resnet(int i, Tensor x, Tensor e) => _resnets[i].call(x, e);

    /// <summary>SA(x, c), or x where the level has no attention; a new tensor in any case.</summary>
    public Tensor Attention(int i, Tensor x, Tensor text) => _attentions?[i].call(x, text) ?? x.alias();

    /// <summary>SA(SC(x, e), c).</summary>
    public Tensor Layer(int i, Tensor x, Tensor e, Tensor text) => Attention(i, Resnet(i, x, e), text);

    /// <summary>SC(SA(SC(x))): the middle block has one resnet more than attentions.</summary>
    public Tensor Middle(Tensor x, Tensor e, Tensor text) => Resnet(1, Layer(0, x, e, text), e);

    public Tensor Downsample(Tensor x) => _downsamplers![0].call(x);

    /// <summary>Up to the size, height and width, of the next skip, which is odd where a halving was rounded up.</summary>
    public Tensor Upsample(Tensor x, long[] size) => _upsamplers![0].call(x, size);
}
