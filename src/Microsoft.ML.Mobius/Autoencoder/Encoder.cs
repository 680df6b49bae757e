using Microsoft.ML.Mobius.Layers;
using Microsoft.ML.Mobius.Torch;
using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Autoencoder;

/// <summary>Images to the moments of the latents: conv_in, per level resnets and a halving, the middle block, conv_out.</summary>
internal sealed class Encoder : nn.Module<Tensor, Tensor>
{
    [ComponentName(Name = "conv_in")] private readonly Conv2d _convIn;
    [ComponentName(Name = "down_blocks")] private readonly ModuleList<Level> _downBlocks;
    [ComponentName(Name = "mid_block")] private readonly MiddleBlock _midBlock;
    [ComponentName(Name = "conv_norm_out")] private readonly GroupNorm _normOut;
    [ComponentName(Name = "conv_out")] private readonly Conv2d _convOut;

    public Encoder(AutoencoderKlConfig config) : base(nameof(Encoder))
    {
        var channels = config.BlockOutChannels;
        _convIn = nn.Conv2d(config.InChannels, channels[0], 3, padding: 1);
        _downBlocks = nn.ModuleList([.. channels.Select((width, k) => new Level(
            k == 0 ? width : channels[k - 1], width, config.LayersPerBlock, config.NormNumGroups,
            downsampler: k < channels.Count - 1 ? new Downsampler(width, padding: 0) : null))]);
        _midBlock = new MiddleBlock(channels[^1], config.NormNumGroups);
        _normOut = Norms.Group(config.NormNumGroups, channels[^1], 1e-6);
        _convOut = nn.Conv2d(channels[^1], 2 * config.LatentChannels, 3, padding: 1);
        RegisterComponents();
    }

    /// <param name="images">[N, 3, H, W].</param>
    /// <returns>[N, 2 c, h, w].</returns>
    public override Tensor forward(Tensor images)
    {
        Func<Tensor, Tensor> head = h => _convOut.call(nn.functional.silu(_normOut.call(h)));
        return Passing.Along(images, [_convIn.call, .. _downBlocks.Select(level => (Func<Tensor, Tensor>)level.call), _midBlock.call, head]);
    }
}

/// <summary>Latents to images: conv_in, the middle block, per level resnets (one more than the encoder's) and a doubling, conv_out.</summary>
internal sealed class Decoder : nn.Module<Tensor, Tensor>
{
    [ComponentName(Name = "conv_in")] private readonly Conv2d _convIn;
    [ComponentName(Name = "mid_block")] private readonly MiddleBlock _midBlock;
    [ComponentName(Name = "up_blocks")] private readonly ModuleList<Level> _upBlocks;
    [ComponentName(Name = "conv_norm_out")] private readonly GroupNorm _normOut;
    [ComponentName(Name = "conv_out")] private readonly Conv2d _convOut;

    public Decoder(AutoencoderKlConfig config) : base(nameof(Decoder))
    {
        int[] channels = [.. config.BlockOutChannels.Reverse()];
        _convIn = nn.Conv2d(config.LatentChannels, channels[0], 3, padding: 1);
        _midBlock = new MiddleBlock(channels[0], config.NormNumGroups);
        _upBlocks = nn.ModuleList([.. channels.Select((width, k) => new Level(
            k == 0 ? width : channels[k - 1], width, config.LayersPerBlock + 1, config.NormNumGroups,
            upsampler: k < channels.Length - 1 ? new Upsampler(width) : null))]);
        _normOut = Norms.Group(config.NormNumGroups, channels[^1], 1e-6);
        _convOut = nn.Conv2d(channels[^1], config.OutChannels, 3, padding: 1);
        RegisterComponents();
    }

    /// <param name="latents">[N, c, h, w].</param>
    /// <returns>[N, 3, H, W].</returns>
    public override Tensor forward(Tensor latents)
    {
        Func<Tensor, Tensor> head = h => _convOut.call(nn.functional.silu(_normOut.call(h)));
        return Passing.Along(latents, [_convIn.call, _midBlock.call, .. _upBlocks.Select(level => (Func<Tensor, Tensor>)level.call), head]);
    }

    /// <summary>The same, but for rounding, with so many rows at a time.</summary>
    public Tensor InRows(Tensor latents, int rows)
    {
        using var scope = NewDisposeScope();
        var h = _midBlock.call(_convIn.call(latents));
        foreach (var level in _upBlocks)
            h = level.InRows(h, rows);
        return RowStrips.Convolved(_normOut, _convOut, h, rows).MoveToOuterDisposeScope();
    }
}

/// <summary>The resnets of one resolution, then a halving or a doubling where another level follows.</summary>
internal sealed class Level : nn.Module<Tensor, Tensor>
{
    [ComponentName(Name = "resnets")] private readonly ModuleList<ResnetBlock> _resnets;
    [ComponentName(Name = "downsamplers")] private readonly ModuleList<Downsampler>? _downsamplers;
    [ComponentName(Name = "upsamplers")] private readonly ModuleList<Upsampler>? _upsamplers;

    public Level(int inChannels, int outChannels, int layers, int groups, Downsampler? downsampler = null, Upsampler? upsampler = null)
        : base(nameof(Level))
    {
        _resnets = nn.ModuleList([.. Enumerable.Range(0, layers)
            .Select(i => new ResnetBlock(i == 0 ? inChannels : outChannels, outChannels, timeChannels: null, groups, 1e-6))]);
        _downsamplers = downsampler is null ? null : nn.ModuleList(downsampler);
        _upsamplers = upsampler is null ? null : nn.ModuleList(upsampler);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        IEnumerable<Func<Tensor, Tensor>> resampling = _downsamplers is not null ? [_downsamplers[0].call] : _upsamplers is not null ? [x => _upsamplers[0].call(x, null)] : [];
        return Passing.Along(x, [.. _resnets.Select(resnet => (Func<Tensor, Tensor>)(x => resnet.call(x, null))), .. resampling]);
    }

    /// <summary>A level of the decoder, with so many rows at a time; disposes what it is given.</summary>
    public Tensor InRows(Tensor x, int rows)
    {
        Tensor Next(Tensor next)
        {
            x.Dispose();
            return next;
        }

        foreach (var resnet in _resnets)
            x = Next(resnet.InRows(x, rows));
        return _upsamplers is null ? x : Next(_upsamplers[0].InRows(x, rows));
    }
}

/// <summary>Resnet, one-head self-attention over all positions, resnet.</summary>
internal sealed class MiddleBlock : nn.Module<Tensor, Tensor>
{
    [ComponentName(Name = "resnets")] private readonly ModuleList<ResnetBlock> _resnets;
    [ComponentName(Name = "attentions")] private readonly ModuleList<PositionAttention> _attentions;

    public MiddleBlock(int channels, int groups) : base(nameof(MiddleBlock))
    {
        _resnets = nn.ModuleList(
            new ResnetBlock(channels, channels, timeChannels: null, groups, 1e-6),
            new ResnetBlock(channels, channels, timeChannels: null, groups, 1e-6));
        _attentions = nn.ModuleList(new PositionAttention(channels, groups));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) => Passing.Along(x, x => _resnets[0].call(x, null), _attentions[0].call, x => _resnets[1].call(x, null));
}

/// <summary>x + attention(norm x) over the h·w positions of an image, one head.</summary>
internal sealed class PositionAttention : nn.Module<Tensor, Tensor>
{
    [ComponentName(Name = "group_norm")] private readonly GroupNorm _norm;
    [ComponentName(Name = "to_q")] private readonly Linear _query;
    [ComponentName(Name = "to_k")] private readonly Linear _key;
    [ComponentName(Name = "to_v")] private readonly Linear _value;
    [ComponentName(Name = "to_out")] private readonly ModuleList<nn.Module> _output;

    public PositionAttention(int channels, int groups) : base(nameof(PositionAttention))
    {
        _norm = Norms.Group(groups, channels, 1e-6);
        _query = nn.Linear(channels, channels);
        _key = nn.Linear(channels, channels);
        _value = nn.Linear(channels, channels);
        _output = nn.ModuleList<nn.Module>(nn.Linear(channels, channels));
        RegisterComponents();
    }

    /// <param name="x">[N, C, h, w].</param>
    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        var tokens = _norm.call(x).flatten(2).transpose(1, 2).unsqueeze(1);              // [N, 1, h·w, C]
        var attended = nn.functional.scaled_dot_product_attention(_query.call(tokens), _key.call(tokens), _value.call(tokens));
        return (x + ((Linear)_output[0]).call(attended).squeeze(1).transpose(1, 2).reshape(x.shape)).MoveToOuterDisposeScope();
    }
}
