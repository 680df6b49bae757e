using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Microsoft.ML.Mobius.Text;

/// <summary>One pre-norm transformer layer: causal self-attention, then a two-layer perceptron, each added to its input.</summary>
internal sealed class ClipTextLayer : Module<Tensor, Tensor>
{
    [ComponentName(Name = "self_attn")]
    private readonly ClipAttention _attention;

    [ComponentName(Name = "layer_norm1")]
    private readonly LayerNorm _attentionNorm;

    [ComponentName(Name = "mlp")]
    private readonly ClipPerceptron _perceptron;

    [ComponentName(Name = "layer_norm2")]
    private readonly LayerNorm _perceptronNorm;

    public ClipTextLayer(ClipTextConfig config)
        : base(nameof(ClipTextLayer))
    {
        _attention = new ClipAttention(config);
        _attentionNorm = LayerNorm(config.HiddenSize, config.LayerNormEps);
        _perceptron = new ClipPerceptron(config);
        _perceptronNorm = LayerNorm(config.HiddenSize, config.LayerNormEps);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        var attended = x + _attention.forward(_attentionNorm.forward(x));
        return (attended + _perceptron.forward(_perceptronNorm.forward(attended))).MoveToOuterDisposeScope();
    }

    /// <summary>A linear layer as CLIP draws it: normal of the given deviation, bias 0.</summary>
    internal static Linear Drawn(int inputs, int outputs, double deviation)
    {
        var linear = Linear(inputs, outputs);
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        init.normal_(linear.weight!, 0, deviation);
        init.zeros_(linear.bias!);
        return linear;
    }

    /// <summary>The deviation of the layers that write to the residual stream or feed attention: smaller the deeper the encoder.</summary>
    internal static double ResidualDeviation(ClipTextConfig config) =>
        Math.Pow(config.HiddenSize, -0.5) * Math.Pow(2 * config.NumHiddenLayers, -0.5);
}

/// <summary>Causal multi-head self-attention.</summary>
internal sealed class ClipAttention : Module<Tensor, Tensor>
{
    [ComponentName(Name = "k_proj")]
    private readonly Linear _key;

    [ComponentName(Name = "v_proj")]
    private readonly Linear _value;

    [ComponentName(Name = "q_proj")]
    private readonly Linear _query;

    [ComponentName(Name = "out_proj")]
    private readonly Linear _out;

    private readonly int _heads;

    public ClipAttention(ClipTextConfig config)
        : base(nameof(ClipAttention))
    {
        _heads = config.NumAttentionHeads;
        int width = config.HiddenSize;
        double deviation = ClipTextLayer.ResidualDeviation(config);
        _key = ClipTextLayer.Drawn(width, width, deviation);
        _value = ClipTextLayer.Drawn(width, width, deviation);
        _query = ClipTextLayer.Drawn(width, width, deviation);
        _out = ClipTextLayer.Drawn(width, width, Math.Pow(width, -0.5));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        Tensor Split(Tensor t) => t.view(x.shape[0], x.shape[1], _heads, -1).transpose(1, 2);    // [B, heads, N, D / heads]
        var attended = functional.scaled_dot_product_attention(
            Split(_query.call(x)), Split(_key.call(x)), Split(_value.call(x)), is_casual: true);
        return _out.call(attended.transpose(1, 2).reshape(x.shape)).MoveToOuterDisposeScope();   // [B, N, D]
    }
}

/// <summary>Two linear layers with GELU between them, exact or in CLIP's quick form x * sigmoid(1.702 x).</summary>
internal sealed class ClipPerceptron : Module<Tensor, Tensor>
{
    [ComponentName(Name = "fc1")]
    private readonly Linear _in;

    [ComponentName(Name = "fc2")]
    private readonly Linear _out;

    private readonly bool _quick;

    public ClipPerceptron(ClipTextConfig config)
        : base(nameof(ClipPerceptron))
    {
        _quick = config.HiddenAct == "quick_gelu";
        _in = ClipTextLayer.Drawn(config.HiddenSize, config.IntermediateSize, Math.Pow(2 * config.HiddenSize, -0.5));
        _out = ClipTextLayer.Drawn(config.IntermediateSize, config.HiddenSize, ClipTextLayer.ResidualDeviation(config));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        var hidden = _in.call(x);
        var active = _quick ? hidden * sigmoid(1.702 * hidden) : functional.gelu(hidden);
        return _out.call(active).MoveToOuterDisposeScope();
    }
}
