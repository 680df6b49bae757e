namespace Microsoft.ML.Mobius.Text;

/// <summary>A caption as the text encoder reads it.</summary>
/// <param name="Ids">Start token, the text's tokens, end token, padding; always the tokenizer's whole length.</param>
/// <param name="TokenCount">The text's tokens before anything was cut, without start and end token.</param>
/// <param name="IsCut">Whether the text was too long, so that its end is missing from <paramref name="Ids"/>.</param>
/// <param name="Weights">How much each of <paramref name="Ids"/> counts: 1 but for parts of a prompt that say otherwise.</param>
internal sealed record TokenizedText(long[] Ids, int TokenCount, bool IsCut, float[] Weights);
