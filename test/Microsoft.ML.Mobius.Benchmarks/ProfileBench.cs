using System.Globalization;
using System.Text;
using Microsoft.ML.Mobius.Files;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Training;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>Where the processor time of a training step goes, by kind of operation, against what the machine can do: profile-ARM-SIZE.md.</summary>
/// <remarks>It makes the step that <see cref="TrainingLoop"/> makes, of the same parts, in order to time between them.</remarks>
internal static class ProfileBench
{
    private const int Frames = 8, Side = 32, Tokens = 77;

    /// <param name="size">Of the model.</param>
    /// <param name="arm">Which.</param>
    /// <param name="steps">Averaged over, after one that is not counted.</param>
    /// <param name="folder">Where the result goes.</param>
    /// <param name="interrupt">Ends it between two steps; then nothing is written.</param>
    public static bool Run(ModelSize size, Arm arm, int steps, string folder, CancellationToken interrupt)
    {
        Directory.CreateDirectory(folder);
        Console.WriteLine("The machine's matrix rate ...");
        double rate = MatrixRate();
        Console.WriteLine(FormattableString.Invariant($"    {rate / 1e9:F0} GFLOP per processor second\n{arm.Name}, {size.Name} ..."));

        var start = size.Start();
        var options = new TextToVideoTrainer.Options();
        arm.Change(options);
        options = options.For(start);
        using var model = TextToVideoModel.From(start.Open(), options.Architecture(size.UNet), seed: 0);
        using var state = new TrainingState(model.UNet.Temporal, options.Training(seed: 0));
        var modules = new ModuleTimes(model.UNet, PartOf);
        model.UNet.Temporal.train();
        var phases = new Phases(0, 0, 0);
        for (int step = 0; step <= steps; step++)
        {
            interrupt.ThrowIfCancellationRequested();
            var made = Step(model, state, modules, size.CrossAttention);
            Console.WriteLine(FormattableString.Invariant($"    step {step}: forward {made.Forward:F2} s, backward {made.Backward:F2} s, optimizer {made.Optimizer:F2} s"));
            if (step == 0)
                modules.Clear();
            else
                phases = new Phases(phases.Forward + made.Forward / steps, phases.Backward + made.Backward / steps, phases.Optimizer + made.Optimizer / steps);
        }

        string report = Report(size, arm, steps, rate, phases, modules.Times);
        string file = Path.Combine(folder, $"profile-{arm.Name}-{size.Name}.md");
        FileAside.Write(file, path => File.WriteAllText(path, report));
        Console.WriteLine($"\n{report}\nWritten to {file}.");
        return true;
    }

    private static Phases Step(TextToVideoModel model, TrainingState state, ModuleTimes modules, int textWidth)
    {
        using var scope = NewDisposeScope();
        var (z, noise, text) = (randn([1, 4, Frames, Side, Side]), randn([1, 4, Frames, Side, Side]), randn([1, Tokens, textWidth]));
        foreach (var parameter in state.Parameters)
            parameter.grad = null;
        double start = ProcessorTime.Now();
        var loss = (model.UNet.call(z, tensor(new long[] { 500 }), text) - noise).square().mean();
        double forward = ProcessorTime.Now();
        modules.BeginBackward();
        loss.backward();
        modules.EndBackward();
        double backward = ProcessorTime.Now();
        nn.utils.clip_grad_norm_(state.Parameters, 1);
        state.Advance(0, learningRate: 1e-4);
        return new Phases(forward - start, backward - forward, ProcessorTime.Now() - backward);
    }

    private static string PartOf(string name) => name.Contains("transformer_in", StringComparison.Ordinal) ? "transformer_in"
        : name.StartsWith("spatial", StringComparison.Ordinal) ? "spatial" : "temporal";

    /// <summary>The most that products of 2048x2048 matrices in float32 reach, in operations per processor second.</summary>
    private static double MatrixRate()
    {
        const int N = 2048, Products = 8;
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var (a, b) = (randn(N, N), randn(N, N));
        double best = 0;
        for (int i = 0; i < Products; i++)
        {
            double start = ProcessorTime.Now();
            a.mm(b).Dispose();
            best = Math.Max(best, 2.0 * N * N * N / (ProcessorTime.Now() - start));
        }
        return best;
    }

    private static string Report(ModelSize size, Arm arm, int steps, double rate, Phases phases, IReadOnlyDictionary<string, ModuleTime> times)
    {
        double whole = phases.Forward + phases.Backward + phases.Optimizer;
        double operations = times.Values.Sum(time => time.ForwardOperations + time.BackwardOperations) / steps;
        var text = new StringBuilder($"""
            # Where a training step's time goes: {arm.Name}, {size.Name}

            {Machine.This(get_num_threads()).Markdown}
            - {Frames} frames, {Side}x{Side} latents, batch 1, float32; mean of {steps} steps; processor seconds over all threads
            - Transformer_in stands before the first layer where there is one stream, with 8 heads as UNet3DConditionModel has it, whatever the width.

            """);
        text.Append(CultureInfo.InvariantCulture, $"""

            The machine multiplies matrices at {rate / 1e9:F0} GFLOP per processor second. The step takes {whole:F2} s for {operations / 1e9:F0} GFLOP in products:
            {operations / whole / 1e9:F0} GFLOP/s, {operations / whole / rate:P0} of that.

            | | forward s | backward s | share | GFLOP | of the matrix rate |
            |---|---|---|---|---|---|

            """);
        void Line(string name, double forward, double backward, double made)
            => text.Append(CultureInfo.InvariantCulture, $"| {name} | {forward:F3} | {backward:F3} | {(forward + backward) / whole:P1} ")
                .Append(made > 0 ? string.Create(CultureInfo.InvariantCulture, $"| {made / 1e9:F1} | {made / (forward + backward) / rate:P0} |\n") : "| | |\n");
        foreach (var (kind, time) in times.OrderByDescending(time => time.Value.Forward + time.Value.Backward))
            Line(kind, time.Forward / steps, time.Backward / steps, (time.ForwardOperations + time.BackwardOperations) / steps);
        Line("elsewhere", phases.Forward - times.Values.Sum(time => time.Forward) / steps, phases.Backward - times.Values.Sum(time => time.Backward) / steps, 0);
        Line("clipping and AdamW", 0, phases.Optimizer, 0);
        Line("the step", phases.Forward, phases.Backward + phases.Optimizer, operations);
        return text.ToString();
    }

    /// <summary>Seconds.</summary>
    private readonly record struct Phases(double Forward, double Backward, double Optimizer);
}
