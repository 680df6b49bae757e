namespace Microsoft.ML.Mobius.Training;

/// <summary>What the model predicts of noisy latents √ᾱ z_0 + √(1 - ᾱ) ε.</summary>
public enum PredictionType
{
    /// <summary>The noise ε (Ho et al. 2020, arXiv 2006.11239).</summary>
    Epsilon,

    /// <summary>The velocity √ᾱ ε - √(1 - ᾱ) z_0 (Salimans and Ho 2022, arXiv 2202.00512).</summary>
    Velocity,

    /// <summary>The clean latents z_0.</summary>
    Sample,
}

/// <summary>Their names in scheduler_config.json.</summary>
internal static class PredictionTypeNames
{
    private static readonly string[] s_names = ["epsilon", "v_prediction", "sample"];

    public static string InConfig(this PredictionType type) => s_names[(int)type];

    /// <summary>Null for a name that is none of them.</summary>
    public static PredictionType? Of(string name) => Array.IndexOf(s_names, name) is >= 0 and var i ? (PredictionType)i : null;
}
