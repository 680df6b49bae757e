using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.Training;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Runtime;

namespace Microsoft.ML.Mobius.Tests;

/// <summary>The rows that training on the tiny model reads.</summary>
internal sealed class TinyRows(TinyPipeline tiny, Action<TextToVideoTrainer.Options> change) : IDisposable
{
    private readonly IChannel _channel = ((IHostEnvironment)tiny.ML).Start("Test");

    public TextToVideoModel Model { get; } = TextToVideoModel.From(TinyModel.Image(), UNetConfigOf(TinyModel.Image()), 1);

    public int Skipped { get; private set; }

    public TrainingRow[] Read(params TinyPipeline.Row[] rows)
    {
        var options = TinyPipeline.Options(change);
        var shapes = options.Shapes(TinyModel.Factor);
        var reading = Of(options, shapes, rows);
        TrainingRow[] read = [.. reading.Read()];
        Skipped = reading.Skipped;
        return read;
    }

    public TrainingRows Of(TextToVideoTrainer.Options options, ClipShapes shapes, params TinyPipeline.Row[] rows)
    {
        var cache = options.CacheFolder is { } folder ? new LatentCache(folder, Model, options.ReadingInWords(shapes)) : null;
        return new TrainingRows(tiny.View(rows), options, shapes, Model.Tokenizer, cache, _channel);
    }

    public void Dispose()
    {
        _channel.Dispose();
        Model.Dispose();
    }

    private static UNetConfig UNetConfigOf(TextToImageModel image)
    {
        using (image.UNet)
        using (image.TextEncoder)
        using (image.Autoencoder)
            return image.UNetConfig with { Layout = UNetLayout.Serial };
    }
}
