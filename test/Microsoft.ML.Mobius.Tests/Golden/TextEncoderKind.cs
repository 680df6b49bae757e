using Microsoft.ML.Mobius.Text;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.GoldenCases;

internal sealed class TextEncoderKind : GoldenKind
{
    private const string States = "last_hidden_state";

    public override bool Fits(Golden golden) => golden.Has("io.safetensors") && golden.Has(golden.ConfigFile)
        && golden.Json(golden.ConfigFile)["model_type"]?.GetValue<string>() == "clip_text_model";

    public override void Check(Golden golden, Tolerances tolerances, Findings findings)
    {
        using var model = new ClipTextModel(ClipTextConfig.Parse(golden.Json(golden.ConfigFile).ToJsonString()));
        model.Load(golden.Tensors(golden.WeightsFile), golden.WeightsFile);
        model.eval();
        using var _ = no_grad();
        foreach (var (key, expected) in golden.Io.Where(pair => !pair.Key.EndsWith("input_ids", StringComparison.Ordinal) && pair.Key != "attention_mask"))
        {
            using var scope = NewDisposeScope();
            if (key.EndsWith(States, StringComparison.Ordinal) && golden.Io.TryGetValue(key.Replace(States, "input_ids"), out var ids))
                findings.Within(key, expected, model.call(ids), tolerances.Of(2e-5, "max abs"));
            else
                findings.LeaveOut(key);
        }
    }
}
