using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>
/// Processor time of a network's modules, by kind, each less the modules that it calls. Forward: of the calls. Backward: from the moment when the gradient
/// comes to a module's output to that when it leaves by its input.
/// </summary>
/// <remarks>
/// libtorch walks back in the order of the calls reversed, so what happens between two such moments is of one module, but for sums of gradients that come
/// from two sides. Multiplications and additions of products are counted, two for each pair; all else is not.
/// </remarks>
internal sealed class ModuleTimes
{
    private static ModuleTimes? s_now;                                                    // whom the marks in the graph tell

    private readonly Dictionary<string, ModuleTime> _times = [];
    private readonly Stack<(string Kind, double Start, double Inner)> _calls = new();
    private (string? Kind, double Since) _backward;

    /// <summary>Watches all modules under a root from now on.</summary>
    /// <param name="root">A network.</param>
    /// <param name="part">What a module belongs to, by its name, is put before its kind.</param>
    public ModuleTimes(nn.Module root, Func<string, string> part)
    {
        s_now = this;
        foreach (var (name, module) in root.named_modules())
            Watch(module, $"{part(name)}: {Kind(module)}");
    }

    /// <summary>By part and kind.</summary>
    public IReadOnlyDictionary<string, ModuleTime> Times => _times;

    /// <summary>Forgets what was measured.</summary>
    public void Clear() => _times.Clear();

    /// <summary>To be called right before the backward pass.</summary>
    public void BeginBackward() => _backward = ("in no module", ProcessorTime.Now());

    /// <summary>To be called right after the backward pass.</summary>
    public void EndBackward() => PassBackward(null);

    private void PassBackward(string? kind)
    {
        double now = ProcessorTime.Now();
        if (_backward.Kind is { } before)
            Of(before).Backward += now - _backward.Since;
        _backward = (kind, now);
    }

    private ModuleTime Of(string kind) => _times.TryGetValue(kind, out var time) ? time : _times[kind] = new ModuleTime();

    private void Watch(nn.Module module, string kind)
    {
        Tensor After(Tensor input, Tensor? context, Tensor output)
        {
            var (_, start, inner) = _calls.Pop();
            double taken = ProcessorTime.Now() - start;
            var time = Of(kind);
            double operations = Operations(module, input, context, output);
            time.Calls++;
            time.Forward += taken - inner;
            time.ForwardOperations += operations;
            if (output.requires_grad)
            {
                bool learns = OwnWeight(module) is { requires_grad: true };
                time.BackwardOperations += operations * (module is Layers.Attention ? 2 : (input.requires_grad ? 1 : 0) + (learns ? 1 : 0));
                output = Mark.Put(output, kind);
            }
            if (_calls.TryPop(out var outer))
                _calls.Push(outer with { Inner = outer.Inner + (ProcessorTime.Now() - start) });
            return output;
        }

        Tensor Before(Tensor input)
        {
            string around = _calls.TryPeek(out var outer) ? outer.Kind : "in no module";
            _calls.Push((kind, ProcessorTime.Now(), 0));
            return input.requires_grad ? Mark.Put(input, around) : input;
        }

        switch (module)
        {
            case nn.Module<Tensor, Tensor> one:
                one.register_forward_pre_hook((_, x) => Before(x));
                one.register_forward_hook((_, x, y) => After(x, null, y));
                break;
            case nn.Module<Tensor, Tensor, Tensor> two:
                two.register_forward_pre_hook((_, x, context) => (Before(x), context));
                two.register_forward_hook((_, x, context, y) => After(x, context, y));
                break;
            case nn.Module<Tensor, long, Tensor> frames:
                frames.register_forward_pre_hook((_, x, count) => (Before(x), count));
                frames.register_forward_hook((_, x, _, y) => After(x, null, y));
                break;
            case nn.Module<Tensor, long[], Tensor> size:
                size.register_forward_pre_hook((_, x, sides) => (Before(x), sides));
                size.register_forward_hook((_, x, _, y) => After(x, null, y));
                break;
            case nn.Module<Tensor, long, Tensor, Tensor> framesAndText:
                framesAndText.register_forward_pre_hook((_, x, count, text) => (Before(x), count, text));
                framesAndText.register_forward_hook((_, x, _, _, y) => After(x, null, y));
                break;
        }
    }

    private static string Kind(nn.Module module) => module switch
    {
        Conv2d convolution => convolution.weight!.shape[^1] == 1 ? "convolution 1x1" : "convolution 3x3",
        Linear => "linear",
        GroupNorm or LayerNorm => "norm",
        Layers.Attention => "attention (q, k, v alone)",
        _ when module.GetType().Name == "FrameConvolution" => "temporal convolution and its SiLU",
        _ => "sums, SiLU, GELU, axes",
    };

    private static Tensor? OwnWeight(nn.Module module) => module switch
    {
        Conv2d convolution => convolution.weight,
        Linear linear => linear.weight,
        _ when module.GetType().Name == "FrameConvolution" => module.parameters().First(parameter => parameter.dim() == 5),
        _ => null,
    };

    private static double Operations(nn.Module module, Tensor x, Tensor? context, Tensor y)
    {
        if (OwnWeight(module) is { } weight)
            return 2.0 * y.numel() * (weight.numel() / weight.shape[0]);
        if (module is not Layers.Attention)
            return 0;
        long width = module.named_parameters().First(named => named.name == "to_q.weight").parameter.shape[0];
        return 4.0 * x.shape[0] * x.shape[1] * (context ?? x).shape[1] * width;
    }

    /// <summary>The identity, which tells when the gradient passes.</summary>
    private sealed class Mark : autograd.SingleTensorFunction<Mark>
    {
        public override string Name => nameof(Mark);

        public static Tensor Put(Tensor x, string kind) => apply(x, kind);

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            ctx.save_data("kind", vars[1]);
            return ((Tensor)vars[0]).alias();
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor gradient)
        {
            s_now!.PassBackward((string)ctx.get_data("kind"));
            return [gradient.alias(), null!];
        }
    }
}

/// <summary>What the modules of one kind took.</summary>
internal sealed class ModuleTime
{
    public int Calls { get; set; }
    public double Forward { get; set; }
    public double Backward { get; set; }
    public double ForwardOperations { get; set; }
    public double BackwardOperations { get; set; }
}
