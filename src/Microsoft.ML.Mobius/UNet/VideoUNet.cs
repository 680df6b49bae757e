using Microsoft.ML.Mobius.Layers;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.UNet;

/// <summary>
/// A text-to-video U-Net: the frozen spatial half, the trained temporal half, and a layout that says how data runs through both.
/// B clips, F frames, c latent channels, h and w latent height and width, N tokens of width D.
/// </summary>
internal abstract class VideoUNet : nn.Module<Tensor, Tensor, Tensor, Tensor>
{
    protected VideoUNet(UNetConfig config, SpatialStream spatial, TemporalStream temporal) : base(config.Layout.ToString())
    {
        Config = config;
        Spatial = spatial;
        Temporal = temporal;
        register_module("spatial", spatial);
        register_module("temporal", temporal);
        foreach (var parameter in spatial.parameters())
            parameter.requires_grad = false;
    }

    // Fields, not properties: TorchSharp looks properties up by the names of modules.
    public readonly UNetConfig Config;
    public readonly SpatialStream Spatial;
    public readonly TemporalStream Temporal;

    /// <summary>Builds the layout of <paramref name="config"/> around an image model, which it freezes and owns from now on.</summary>
    public static VideoUNet Around(SpatialStream spatial, UNetConfig config)
    {
        var temporal = new TemporalStream(config);
        switch (config.Layout)
        {
            case UNetLayout.Serial:
                return new SerialUNet(config, spatial, temporal);
            case UNetLayout.LayerParallel:
                return new LayerParallelUNet(config, spatial, temporal);
            case UNetLayout.StreamParallel:
                temporal.Fusion().StartFrom(spatial);
                return new StreamParallelUNet(config, spatial, temporal);
            default:
                throw new ArgumentOutOfRangeException(nameof(config), config.Layout,
                    $"Unknown layout; known ones are {string.Join(", ", Enum.GetNames<UNetLayout>())}.");
        }
    }

    /// <summary>The layout that a checkpoint's tensors are of, told by the parts that it alone has.</summary>
    /// <param name="names">Names of all or of the temporal tensors.</param>
    public static UNetLayout LayoutOf(IEnumerable<string> names)
    {
        foreach (string name in names)
        {
            if (name.Contains(".proj_conv.", StringComparison.Ordinal))
                return UNetLayout.LayerParallel;
            if (name.Contains("state_fusion.", StringComparison.Ordinal))
                return UNetLayout.StreamParallel;
        }
        return UNetLayout.Serial;
    }

    /// <summary>Predicts the noise in z.</summary>
    /// <param name="z">Noisy latents, [B, c, F, h, w].</param>
    /// <param name="t">Time steps, [B] int64.</param>
    /// <param name="text">Text states, [B, N, D].</param>
    /// <returns>[B, c, F, h, w].</returns>
    public abstract override Tensor forward(Tensor z, Tensor t, Tensor text);
}
