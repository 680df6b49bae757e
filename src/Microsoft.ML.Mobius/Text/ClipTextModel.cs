using Microsoft.ML.Mobius.Weights;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Microsoft.ML.Mobius.Text;

/// <summary>The CLIP text encoder (Radford et al. 2021, arXiv 2103.00020), with the weight names of transformers' CLIPTextModel.</summary>
/// <remarks>
/// B batch, N tokens, D width. Only the causal mask is applied: as in diffusers, padding is attended to. There is no pooled output. The
/// constructor draws the weights as CLIP does, so that a small encoder can be trained from scratch.
/// </remarks>
internal sealed class ClipTextModel : Module<Tensor, Tensor>
{
    private const string LegacyPositions = "text_model.embeddings.position_ids";

    [ComponentName(Name = "text_model")]
    private readonly ClipTextTransformer _text;

    public ClipTextModel(ClipTextConfig config)
        : base(nameof(ClipTextModel))
    {
        config.Validate();
        Config = config;
        _text = new ClipTextTransformer(config);
        RegisterComponents();
    }

    public ClipTextConfig Config { get; }

    /// <summary>The name of a weight in files of any age; null for the buffer of position ids that old ones hold.</summary>
    public static string? CurrentName(string stored) => stored == LegacyPositions ? null : stored;

    /// <summary>Copies the weights in, strictly; the buffer of position ids that old files hold is passed over.</summary>
    /// <exception cref="WeightMismatchException">A name is missing or unexpected, or a shape or type differs.</exception>
    public void Load(IReadOnlyDictionary<string, Tensor> weights, string what) =>
        StateDict.Load(this, weights.Where(pair => CurrentName(pair.Key) is not null).ToDictionary(), what);

    /// <param name="ids">Token ids [B, N], int64, N at most <see cref="ClipTextConfig.MaxPositionEmbeddings"/>; not disposed.</param>
    /// <returns>The last layer's states [B, N, D] after the final norm, in the caller's scope.</returns>
    public override Tensor forward(Tensor ids)
    {
        if (ids.dim() != 2 || ids.shape[1] > Config.MaxPositionEmbeddings)
        {
            throw new ArgumentException($"Token ids of shape [{string.Join(", ", ids.shape)}] were given; expected [B, N] with N at most "
                + $"{Config.MaxPositionEmbeddings}.", nameof(ids));
        }
        return _text.forward(ids);
    }
}

/// <summary>Embeddings, layers and final norm; a level of its own because the weight names have it.</summary>
internal sealed class ClipTextTransformer : Module<Tensor, Tensor>
{
    [ComponentName(Name = "embeddings")]
    private readonly ClipTextEmbeddings _embeddings;

    [ComponentName(Name = "encoder")]
    private readonly ClipTextEncoder _encoder;

    [ComponentName(Name = "final_layer_norm")]
    private readonly LayerNorm _finalNorm;

    public ClipTextTransformer(ClipTextConfig config)
        : base(nameof(ClipTextTransformer))
    {
        _embeddings = new ClipTextEmbeddings(config);
        _encoder = new ClipTextEncoder(config);
        _finalNorm = LayerNorm(config.HiddenSize, config.LayerNormEps);
        RegisterComponents();
    }

    public override Tensor forward(Tensor ids)
    {
        using var scope = NewDisposeScope();
        return _finalNorm.forward(_encoder.forward(_embeddings.forward(ids))).MoveToOuterDisposeScope();
    }
}

/// <summary>Token plus learnt position.</summary>
internal sealed class ClipTextEmbeddings : Module<Tensor, Tensor>
{
    [ComponentName(Name = "token_embedding")]
    private readonly Embedding _token;

    [ComponentName(Name = "position_embedding")]
    private readonly Embedding _position;

    public ClipTextEmbeddings(ClipTextConfig config)
        : base(nameof(ClipTextEmbeddings))
    {
        _token = Embedding(config.VocabSize, config.HiddenSize);
        _position = Embedding(config.MaxPositionEmbeddings, config.HiddenSize);
        using (no_grad())
        using (NewDisposeScope())
        {
            init.normal_(_token.weight!, 0, 0.02);
            init.normal_(_position.weight!, 0, 0.02);
        }
        RegisterComponents();
    }

    public override Tensor forward(Tensor ids)
    {
        using var scope = NewDisposeScope();
        var positions = _position.weight!.narrow(0, 0, ids.shape[1]);                 // [N, D]
        return (_token.forward(ids) + positions).MoveToOuterDisposeScope();           // [B, N, D]
    }
}

/// <summary>The layers one after another.</summary>
internal sealed class ClipTextEncoder : Module<Tensor, Tensor>
{
    [ComponentName(Name = "layers")]
    private readonly ModuleList<ClipTextLayer> _layers;

    public ClipTextEncoder(ClipTextConfig config)
        : base(nameof(ClipTextEncoder))
    {
        _layers = new ModuleList<ClipTextLayer>([.. Enumerable.Range(0, config.NumHiddenLayers).Select(_ => new ClipTextLayer(config))]);
        RegisterComponents();
    }

    public override Tensor forward(Tensor states) => _layers.Aggregate(states, (x, layer) => layer.forward(x));
}
