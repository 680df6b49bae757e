namespace Microsoft.ML.Mobius.Weights;

/// <summary>A LoRA file and how strongly it is to act.</summary>
/// <param name="Path">A .safetensors file, or a folder with one as diffusers or peft writes it.</param>
/// <param name="Scale">Factor of the change; 1, the default, is what it was trained for, 0 none, a negative one the opposite.</param>
public sealed record LoraSource(string Path, double Scale = 1);

/// <summary>A LoRA that was applied to a model.</summary>
/// <param name="File">Name of its file.</param>
/// <param name="Scale">Factor of the change.</param>
/// <param name="Live">Whether it acts beside the weights; else it was merged into them.</param>
/// <param name="Layers">The layers it changes, each with its network, as unet.mid_block.attentions.0.proj_in.</param>
/// <param name="UnmatchedKeys">Keys of the file that name no layer of the model, and so changed nothing.</param>
public sealed record AppliedLora(string File, double Scale, bool Live, IReadOnlyList<string> Layers, IReadOnlyList<string> UnmatchedKeys);
