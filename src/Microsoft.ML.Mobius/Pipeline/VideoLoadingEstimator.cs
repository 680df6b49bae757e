using Microsoft.ML.Data;
using Microsoft.ML.Mobius.Video;
using Microsoft.ML.Runtime;

namespace Microsoft.ML.Mobius;

/// <summary>Makes a <see cref="VideoLoadingTransformer"/>; learns nothing from the data.</summary>
/// <seealso cref="VideoCatalog.LoadVideos"/>
public sealed class VideoLoadingEstimator : TrivialEstimator<VideoLoadingTransformer>
{
    internal VideoLoadingEstimator(
        IHostEnvironment env, string outputColumnName, string inputColumnName, VideoReadOptions options, string? videoFolder)
        : base(Contracts.CheckRef(env, nameof(env)).Register(nameof(VideoLoadingEstimator)),
            new VideoLoadingTransformer(env, outputColumnName, inputColumnName, options, videoFolder))
    {
    }

    /// <summary>The columns that the transformer will give for such an input.</summary>
    /// <param name="inputSchema">The input's columns.</param>
    /// <returns>The input's columns and the video column.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The path column is missing or not text.</exception>
    public override SchemaShape GetOutputSchema(SchemaShape inputSchema)
    {
        Host.CheckValue(inputSchema, nameof(inputSchema));
        var columns = inputSchema.ToDictionary(column => column.Name);
        var (output, input) = Transformer.ColumnPairs[0];
        if (!columns.TryGetValue(input, out var paths))
            throw Host.ExceptSchemaMismatch(nameof(inputSchema), "input", input);
        if (paths.ItemType is not TextDataViewType || paths.Kind != SchemaShape.Column.VectorKind.Scalar)
            throw Host.ExceptSchemaMismatch(nameof(inputSchema), "input", input,
                TextDataViewType.Instance.ToString(), paths.GetTypeString());
        columns[output] = new SchemaShape.Column(output, SchemaShape.Column.VectorKind.Scalar, Transformer.OutputType, isKey: false);
        return new SchemaShape(columns.Values);
    }
}
