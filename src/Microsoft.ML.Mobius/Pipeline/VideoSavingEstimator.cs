using Microsoft.ML.Data;
using Microsoft.ML.Runtime;

namespace Microsoft.ML.Mobius;

/// <summary>Makes a <see cref="VideoSavingTransformer"/>; learns nothing from the data.</summary>
/// <seealso cref="VideoCatalog.SaveVideos"/>
public sealed class VideoSavingEstimator : TrivialEstimator<VideoSavingTransformer>
{
    internal VideoSavingEstimator(
        IHostEnvironment env, string outputPathColumnName, string inputColumnName, string folder,
        VideoFileFormat format, string? fileNameColumn)
        : base(Contracts.CheckRef(env, nameof(env)).Register(nameof(VideoSavingEstimator)),
            new VideoSavingTransformer(env, outputPathColumnName, inputColumnName, folder, format, fileNameColumn))
    {
    }

    /// <summary>The columns that the transformer will give for such an input.</summary>
    /// <param name="inputSchema">The input's columns.</param>
    /// <returns>The input's columns and the path column.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The video column or the name column is missing or of another type.</exception>
    public override SchemaShape GetOutputSchema(SchemaShape inputSchema)
    {
        Host.CheckValue(inputSchema, nameof(inputSchema));
        var columns = inputSchema.ToDictionary(column => column.Name);
        Check(columns, Transformer.InputColumnName, type => type is VideoDataViewType, VideoSavingTransformer.AnyVideo);
        if (Transformer.FileNameColumn is { } names)
            Check(columns, names, type => type is TextDataViewType, TextDataViewType.Instance.ToString());
        string output = Transformer.OutputPathColumnName;
        columns[output] = new SchemaShape.Column(output, SchemaShape.Column.VectorKind.Scalar, TextDataViewType.Instance, isKey: false);
        return new SchemaShape(columns.Values);
    }

    private void Check(Dictionary<string, SchemaShape.Column> columns, string name, Func<DataViewType, bool> fits, string expected)
    {
        if (!columns.TryGetValue(name, out var column))
            throw Host.ExceptSchemaMismatch("inputSchema", "input", name);
        if (column.Kind != SchemaShape.Column.VectorKind.Scalar || !fits(column.ItemType))
            throw Host.ExceptSchemaMismatch("inputSchema", "input", name, expected, column.GetTypeString());
    }
}
