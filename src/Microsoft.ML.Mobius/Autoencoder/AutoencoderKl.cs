using Microsoft.ML.Mobius.Layers;
using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Autoencoder;

/// <summary>
/// The variational autoencoder of latent diffusion (Rombach et al. 2022, arXiv 2112.10752), diffusers' AutoencoderKL.
/// N images, H and W pixels, h = H / factor, w = W / factor, c latent channels.
/// </summary>
internal sealed class AutoencoderKl : nn.Module<Tensor, Tensor>
{
    // Attention's names in diffusers until 0.17, and today's.
    private static readonly (string Old, string New)[] s_names =
        [(".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0.")];

    [ComponentName(Name = "encoder")] private readonly Encoder _encoder;
    [ComponentName(Name = "decoder")] private readonly Decoder _decoder;
    [ComponentName(Name = "quant_conv")] private readonly Conv2d _quantConv;
    [ComponentName(Name = "post_quant_conv")] private readonly Conv2d _postQuantConv;
    private readonly AutoencoderKlConfig _config;

    public AutoencoderKl(AutoencoderKlConfig config) : base(nameof(AutoencoderKl))
    {
        _config = config;
        _encoder = new Encoder(config);
        _decoder = new Decoder(config);
        _quantConv = nn.Conv2d(2 * config.LatentChannels, 2 * config.LatentChannels, 1);
        _postQuantConv = nn.Conv2d(config.LatentChannels, config.LatentChannels, 1);
        RegisterComponents();
    }

    public AutoencoderKlConfig Config() => _config;

    /// <summary>The name of a weight in files of any age.</summary>
    public static string CurrentName(string stored) => s_names.Aggregate(stored, (name, pair) => name.Replace(pair.Old, pair.New, StringComparison.Ordinal));

    /// <summary>The posterior of the latents.</summary>
    /// <param name="images">[N, 3, H, W] in [-1, 1].</param>
    /// <returns>Mean and log variance (clamped to [-30, 20]), each [N, c, h, w], not scaled.</returns>
    public (Tensor Mean, Tensor LogVariance) Posterior(Tensor images)
    {
        var moments = _quantConv.call(_encoder.call(images)).chunk(2, 1);
        return (moments[0], moments[1].clamp(-30, 20));
    }

    /// <summary>Latents as the U-Net sees them: the posterior's mean, or a draw from it, times the scaling factor.</summary>
    /// <param name="images">[N, 3, H, W] in [-1, 1].</param>
    /// <param name="noise">Standard normal, [N, c, h, w], for a draw; null for the mean.</param>
    /// <returns>[N, c, h, w].</returns>
    public Tensor Encode(Tensor images, Tensor? noise = null)
    {
        using var scope = NewDisposeScope();
        var (mean, logVariance) = Posterior(images);
        var latents = noise is null ? mean : mean + logVariance.mul(0.5).exp() * noise;
        return (latents * _config.ScalingFactor).MoveToOuterDisposeScope();
    }

    /// <param name="latents">[N, c, h, w], scaled by the scaling factor.</param>
    /// <param name="rows">
    /// Rows that the resnets, doublings and last layers compute at a time; 0 for all. It changes memory, and results by their rounding alone: each strip is given the rows
    /// that its convolutions look at, and norms the statistics of the whole picture.
    /// </param>
    /// <returns>Images, [N, 3, H, W], about [-1, 1] but not clamped.</returns>
    public Tensor Decode(Tensor latents, int rows = 0)
    {
        using var scope = NewDisposeScope();
        var unscaled = latents / _config.ScalingFactor;
        return (rows == 0 ? DecodeUnscaled(unscaled) : _decoder.InRows(_postQuantConv.call(unscaled), rows)).MoveToOuterDisposeScope();
    }

    /// <param name="latents">[N, c, h, w] as the posterior gives them.</param>
    public Tensor DecodeUnscaled(Tensor latents) => _decoder.call(_postQuantConv.call(latents));

    /// <summary>Images through the posterior's mean and back.</summary>
    public override Tensor forward(Tensor images) => DecodeUnscaled(Posterior(images).Mean);
}
