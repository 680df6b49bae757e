namespace Microsoft.ML.Mobius.Tests.GoldenCases;

/// <summary>Kinds that the product has nothing for as yet; each becomes a file of its own with what it tests.</summary>
internal abstract class NotYetKind(string what, Predicate<Golden> fits) : GoldenKind
{
    public override bool Fits(Golden golden) => fits(golden);

    public override void Check(Golden golden, Tolerances tolerances, Findings findings) => findings.NotYet(what);
}

internal sealed class LoraKind() : NotYetKind("LoRA", golden => golden.Case?["lora"] is not null);

internal sealed class MotionModuleKind() : NotYetKind("motion modules", golden => golden.Case?["motion_adapter"] is not null);
