using Microsoft.ML.Data;
using Microsoft.ML.Mobius;
using Microsoft.ML.Mobius.UNet;

namespace Microsoft.ML;

/// <summary>Text to video as a step of an ML.NET pipeline.</summary>
public static class TextToVideoCatalog
{
    /// <summary>Trains a text-to-video model on captions and clips.</summary>
    /// <param name="catalog">The transforms catalog.</param>
    /// <param name="options">All options; they are copied.</param>
    /// <returns>The trainer; its <see cref="TextToVideoTrainer.Fit"/> gives the transformer that generates videos.</returns>
    /// <exception cref="ArgumentException">Options are out of their range; the message names all of them.</exception>
    public static TextToVideoTrainer TextToVideo(this TransformsCatalog catalog, TextToVideoTrainer.Options options)
        => new(CatalogUtils.GetEnvironment(catalog), options);

    /// <summary>
    /// Trains a text-to-video model on captions and clips, with the defaults of <see cref="TextToVideoTrainer.Options"/> for all else.
    /// </summary>
    /// <remarks>
    /// With <paramref name="steps"/> = 0 nothing is trained: the result is the base image model as a video model, the start that training
    /// would have, and data with the prompt column alone, even an empty view, will do to fit it.
    /// </remarks>
    /// <param name="catalog">The transforms catalog.</param>
    /// <param name="outputColumnName">Name of the video column that is added.</param>
    /// <param name="inputColumnName">Name of the text column that holds the captions when fitting and the prompts when generating.</param>
    /// <param name="clipColumnName">Name of the column of clips, as paths or as videos; used when fitting only.</param>
    /// <param name="steps">Training steps, at least 0; the default is 1000.</param>
    /// <param name="frameCount">Frames per clip, at least 1; the default is 8.</param>
    /// <param name="layout">How temporal layers join the spatial ones; the default is <see cref="UNetLayout.StreamParallel"/>.</param>
    /// <returns>The trainer; its <see cref="TextToVideoTrainer.Fit"/> gives the transformer that generates videos.</returns>
    /// <exception cref="ArgumentException">Parameters are out of their range; the message names all of them.</exception>
    public static TextToVideoTrainer TextToVideo(this TransformsCatalog catalog, string outputColumnName = "Video",
        string inputColumnName = "Caption", string clipColumnName = "Clip", int steps = 1000, int frameCount = 8, UNetLayout layout = UNetLayout.StreamParallel)
        => catalog.TextToVideo(new TextToVideoTrainer.Options
        {
            OutputColumnName = outputColumnName,
            InputColumnName = inputColumnName,
            ClipColumnName = clipColumnName,
            Steps = steps,
            FrameCount = frameCount,
            Layout = layout,
        });
}
