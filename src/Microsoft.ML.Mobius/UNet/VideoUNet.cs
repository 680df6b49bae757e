using System.Globalization;
using Microsoft.ML.Mobius.Layers;
using Microsoft.ML.Mobius.Torch;
using TorchSharp;
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

    /// <summary>The depth of what stands between levels and needs nothing kept but what is there anyway.</summary>
    protected const int Between = int.MaxValue;

    /// <summary>The depth of what is not kept even where all levels are.</summary>
    private const int Outside = -1;

    /// <summary>Whether <see cref="Backward"/> keeps what goes from layer to layer alone, and computes each layer once more; else it keeps all.</summary>
    public bool RecomputeActivations;

    /// <summary>
    /// Where activations are recomputed, the level, 0 the outermost, from which on they are kept nevertheless: inner levels have few positions, so that they keep little for
    /// what it takes to compute them. Between the levels, where nothing is to be kept but what is there anyway, they always are. With 0 all are but those of
    /// temporal convolutions and feed-forwards in one stream, which are more than half of them, and quickly computed.
    /// </summary>
    public int KeptDepth = int.MaxValue;

    /// <summary>Whether no layer of a stream beside the spatial one is computed once more.</summary>
    protected bool KeepsLayers => !RecomputeActivations || KeptDepth == 0;

    /// <summary>Whether <see cref="Backward"/> gives the holes that the forward pass left between what is kept back to the system, before gradients come.</summary>
    public bool ReturnUnusedMemory;

    /// <summary>Frames that a layer of the spatial stream computes at a time in StreamParallel; 0 for all.</summary>
    public int SpatialFrameChunk;

    /// <summary>Whether the temporal half is passed by: every frame is an image, and the network the image model. Nothing is recomputed then.</summary>
    public bool FramesAreImages;

    /// <summary>
    /// Holds the spatial layers that no gradient crosses in a type, and computes them in it; all others stay. Those of fewer bits are rounded for good: a wider type does not
    /// bring back what they were.
    /// </summary>
    public void HoldSpatialStream(ScalarType type)
    {
        foreach (var module in Uncrossed())
        {
            using var scope = NewDisposeScope();
            var before = module.parameters().Where(parameter => parameter.dtype != type).ToArray();
            module.to(type);
            foreach (var parameter in module.parameters())
                parameter.DetachFromDisposeScope();
            foreach (var parameter in before)
                parameter.Dispose();                                                      // or it would stay in memory until the garbage collector comes by
        }
    }

    /// <summary>The spatial layers that no gradient crosses.</summary>
    protected virtual IEnumerable<nn.Module> Uncrossed() => [];

    /// <summary>Whether the first frame follows the last, for all temporal layers: see <see cref="FrameCircle"/>. False to begin with.</summary>
    public void LoopFrames(bool loop)
    {
        foreach (var module in Temporal.modules())
            switch (module)
            {
                case TemporalConvolution convolution: convolution.FramesLoop = loop; break;
                case TemporalTransformer transformer: transformer.FramesLoop = loop; break;
                case FrameTable table: table.FramesLoop = loop; break;
            }
    }

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
                temporal.StartFrom(spatial);
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

    /// <summary>
    /// All modules by the names that published files give them: those of diffusers' UNet3DConditionModel, or UNetMotionModel around motion modules.
    /// In StreamParallel the image model's conv_out is not used, nor are its layers of joined levels that are trained, but copies in the temporal half: those have the names.
    /// </summary>
    public IEnumerable<(string Name, nn.Module Module)> PublishedModules()
    {
        var copies = Copies().Select(copy => copy.Name).ToHashSet();
        return Spatial.named_modules().Where(named => !copies.Contains(named.name)).Concat(PublishedTemporal());
    }

    /// <summary>Layers of the temporal half that began as copies of the image model's and stand in their place, by their published names.</summary>
    public IEnumerable<(string Name, nn.Module Module)> Copies()
        => from named in Temporal.named_modules() let published = PublishedName(named.name) where Config.Motion is null && published != named.name select (published, named.module);

    /// <summary>The linear layers of the temporal half, all in TA, by their published names.</summary>
    public IEnumerable<(string Name, Linear Layer)> TemporalLinears()
        => from named in PublishedTemporal() where named.Module is Linear select (named.Name, (Linear)named.Module);

    /// <summary>The linear layers of the spatial half's attentions, q, k, v and out, by their published names.</summary>
    public IEnumerable<(string Name, Linear Layer)> SpatialAttentions()
        => from named in Spatial.named_modules()
           where named.module is Linear && (named.name.Contains(".attn1.", StringComparison.Ordinal) || named.name.Contains(".attn2.", StringComparison.Ordinal))
           select (named.name, (Linear)named.module);

    private IEnumerable<(string Name, nn.Module Module)> PublishedTemporal() => Temporal.named_modules().Select(named => (PublishedName(named.name), named.module));

    private string PublishedName(string name)
    {
        if (Config.Motion is not null)
            return name.Replace(".temp_attentions.", ".motion_modules.");
        if (name == "state_fusion.conv_out")
            return "conv_out";
        return name.Split('.', 3) is ["joined_blocks", var level, var layer]
            ? $"up_blocks.{Config.LevelCount - Config.JoinedLevels + int.Parse(level, CultureInfo.InvariantCulture)}.{layer}" : name;
    }

    /// <summary>Predicts the noise in z.</summary>
    /// <param name="z">Noisy latents, [B, c, F, h, w].</param>
    /// <param name="t">Time steps, [B] int64.</param>
    /// <param name="text">Text states, [B, N, D].</param>
    /// <returns>[B, c, F, h, w].</returns>
    public sealed override Tensor forward(Tensor z, Tensor t, Tensor text) => FramesAreImages ? Images(z, t, text) : Forward(z, t, text, recomputation: null);

    /// <summary>Adds the gradients of a loss to those of the trained parameters.</summary>
    /// <param name="z">As for <see cref="forward"/>.</param>
    /// <param name="t">As for <see cref="forward"/>.</param>
    /// <param name="text">As for <see cref="forward"/>.</param>
    /// <param name="loss">From the prediction, [B, c, F, h, w], to one number.</param>
    /// <param name="passed">
    /// Called whenever a part of the network has its gradients, the last part first; gives whether to go on. Null if nobody wants to know: then it is one part.
    /// </param>
    public void Backward(Tensor z, Tensor t, Tensor text, Func<Tensor, Tensor> loss, Func<bool>? passed = null)
    {
        using var scope = NewDisposeScope();
        using var recomputation = FramesAreImages || (!RecomputeActivations && passed is null) ? null : new Recomputation();
        Tensor computed;
        RecomputeFeedForwards(RecomputeActivations && KeptDepth == 0 ? recomputation : null);
        try
        {
            computed = loss(recomputation is null ? call(z, t, text) : Forward(z, t, text, recomputation));
        }
        finally
        {
            RecomputeFeedForwards(null);
        }
        ReturnUnused(z);
        computed.backward();
        if (recomputation is null)
            return;
        if (passed?.Invoke() != false)
            recomputation.Backward(passed);
    }

    /// <summary>Where asked to, and on a CPU.</summary>
    protected void ReturnUnused(Tensor z)
    {
        if (ReturnUnusedMemory && z.device_type == DeviceType.CPU)
            ProcessMemory.ReturnUnused();
    }

    /// <summary>The feed-forwards of joined levels are computed once more on the way back, or kept where that is null.</summary>
    private void RecomputeFeedForwards(Recomputation? recomputation)
    {
        int joined = Config.JoinsStreams ? Config.JoinedLevels : 0;
        IEnumerable<nn.Module> space = Config.TrainsSpace ? Temporal.Space() : Spatial.Up();
        foreach (var block in space.TakeLast(joined).Concat(Temporal.Up().TakeLast(joined)).SelectMany(level => level.modules()).OfType<TransformerBlock>())
            block.FeedForwards = recomputation;
    }

    /// <summary>The image model on every frame.</summary>
    private Tensor Images(Tensor z, Tensor t, Tensor text)
    {
        using var scope = NewDisposeScope();
        long frames = z.shape[2];
        return Axes.BatchToFrames(Spatial.call(Axes.FramesToBatch(z), t.repeat_interleave(frames), text), frames).MoveToOuterDisposeScope();
    }

    /// <summary>The network; where it is to be recomputed, all that is trained before the last layers is computed by <see cref="Part"/>.</summary>
    protected abstract Tensor Forward(Tensor z, Tensor t, Tensor text, Recomputation? recomputation);

    /// <summary>A layer of one stream: TA(SA(TC(SC([h; skip], e)), c)).</summary>
    /// <param name="recomputation">Of its four parts; null if all are kept.</param>
    /// <param name="depth">Of SC: that of its level, or <see cref="Between"/> to keep it.</param>
    /// <param name="space">SC and SA.</param>
    /// <param name="time">TC and TA.</param>
    /// <param name="i">Number of the layer.</param>
    /// <param name="h">The stream, and its skip if there is one.</param>
    /// <param name="e">Of the time steps.</param>
    /// <param name="text">Text states.</param>
    /// <param name="frames">F.</param>
    protected Tensor InOneStream(Recomputation? recomputation, int depth, SpatialBlock space, TemporalBlock time, int i, Tensor[] h, Tensor e, Tensor text, long frames)
    {
        using var scope = recomputation is null ? NewDisposeScope() : null;
        var x1 = Part(recomputation, depth, () => space.Resnet(i, Joined(h), e));
        var x2 = Part(recomputation, KeptDepth == 0 ? Outside : space.Depth, () => time.Convolution(i, x1, frames));
        var x3 = Part(recomputation, space.Depth, () => space.Attention(i, x2, text));
        var x4 = Part(recomputation, space.Depth, () => time.Attention(i, x3, frames, text));
        return scope is null ? x4 : x4.MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Lets go of what no later layer takes, or it would be there till the end of the forward pass; where parts are computed once more, they take it again.
    /// </summary>
    protected static void Release(Recomputation? recomputation, params Tensor[] taken)
    {
        if (recomputation is null)
            Array.ForEach(taken, tensor => tensor.Dispose());
    }

    /// <summary>The stream and its skip along the channels, or the stream alone.</summary>
    protected static Tensor Joined(Tensor[] x) => x is [var one] ? one : cat(x, 1);

    /// <summary>What is recomputed on its own, at that depth: the number of its level from the outside, or <see cref="Between"/>.</summary>
    protected Tensor Part(Recomputation? recomputation, int depth, Func<Tensor> part)
    {
        if (recomputation is not null)
            return recomputation.Run(part, keep: !RecomputeActivations || depth >= KeptDepth || depth == Between);
        var result = Passing.Through(part);
        if (!is_grad_enabled() && result.device_type == DeviceType.CPU)
            ProcessMemory.ReturnUnusedIfGrown();
        return result;
    }
}
