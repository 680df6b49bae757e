using System.Globalization;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Mobius;
using Microsoft.ML.Mobius.Distributed;
using Microsoft.ML.Mobius.Video;
using Microsoft.ML.Runtime;

[assembly: LoadableClass(typeof(VideoSavingTransformer), null, typeof(SignatureLoadModel),
    "Video saver", VideoSavingTransformer.LoaderSignature)]

namespace Microsoft.ML.Mobius;

/// <summary>Writes the clips of a video column as files while the rows are read, and adds a text column of their paths.</summary>
/// <seealso cref="VideoCatalog.SaveVideos"/>
public sealed class VideoSavingTransformer : RowToRowTransformerBase
{
    internal const string LoaderSignature = "MobiusVideoSaver";
    internal const string AnyVideo = "Video";

    internal VideoSavingTransformer(
        IHostEnvironment env, string outputPathColumnName, string inputColumnName, string folder,
        VideoFileFormat format, string? fileNameColumn)
        : base(Contracts.CheckRef(env, nameof(env)).Register(nameof(VideoSavingTransformer)))
    {
        Host.CheckNonEmpty(outputPathColumnName, nameof(outputPathColumnName));
        Host.CheckNonEmpty(inputColumnName, nameof(inputColumnName));
        Host.CheckNonEmpty(folder, nameof(folder));
        if (!Enum.IsDefined(format))
            throw new ArgumentOutOfRangeException(nameof(format), format, $"Expected {string.Join(", ", Enum.GetNames<VideoFileFormat>())}.");
        OutputPathColumnName = outputPathColumnName;
        InputColumnName = inputColumnName;
        Folder = folder;
        Format = format;
        FileNameColumn = string.IsNullOrEmpty(fileNameColumn) ? null : fileNameColumn;
    }

    private VideoSavingTransformer(IHost host, ModelLoadContext ctx)
        : base(host)
    {
        // strings: output column, input column, folder; string or null: name column; int: format
        OutputPathColumnName = ctx.LoadNonEmptyString();
        InputColumnName = ctx.LoadNonEmptyString();
        Folder = ctx.LoadNonEmptyString();
        FileNameColumn = ctx.LoadStringOrNull();
        Format = (VideoFileFormat)ctx.Reader.ReadInt32();
        host.CheckDecode(Enum.IsDefined(Format));
    }

    /// <summary>Name of the text column of paths that is added.</summary>
    public string OutputPathColumnName { get; }

    /// <summary>Name of the video column.</summary>
    public string InputColumnName { get; }

    /// <summary>The folder that the files go into.</summary>
    public string Folder { get; }

    /// <summary>The file format.</summary>
    public VideoFileFormat Format { get; }

    /// <summary>Name of the text column of file names, or null if files are called by row number.</summary>
    public string? FileNameColumn { get; }

    private string Extension => "." + Format.ToString().ToLowerInvariant();

    private static VersionInfo GetVersionInfo() => new(
        modelSignature: "MBVIDSAV",
        verWrittenCur: 0x00010001,
        verReadableCur: 0x00010001,
        verWeCanReadBack: 0x00010001,
        loaderSignature: LoaderSignature,
        loaderAssemblyName: typeof(VideoSavingTransformer).Assembly.FullName);

    // Found by ML.NET through the LoadableClass attribute above.
    private static VideoSavingTransformer Create(IHostEnvironment env, ModelLoadContext ctx)
    {
        Contracts.CheckValue(env, nameof(env));
        var host = env.Register(LoaderSignature);
        host.CheckValue(ctx, nameof(ctx));
        ctx.CheckAtModel(GetVersionInfo());
        return new VideoSavingTransformer(host, ctx);
    }

    private protected override void SaveModel(ModelSaveContext ctx)
    {
        Host.CheckValue(ctx, nameof(ctx));
        ctx.CheckAtModel();
        ctx.SetVersionInfo(GetVersionInfo());
        ctx.SaveNonEmptyString(OutputPathColumnName);
        ctx.SaveNonEmptyString(InputColumnName);
        ctx.SaveNonEmptyString(Folder);
        ctx.SaveStringOrNull(FileNameColumn);
        ctx.Writer.Write((int)Format);
    }

    private protected override IRowMapper MakeRowMapper(DataViewSchema schema) => new Mapper(this, schema);

    private string FileName(DataViewRowId row)
        => row.High == 0
            ? row.Low.ToString("D3", CultureInfo.InvariantCulture) + Extension
            : string.Create(CultureInfo.InvariantCulture, $"{row.High:x16}{row.Low:x16}") + Extension;

    private string FileName(string name)
    {
        if (string.IsNullOrWhiteSpace(name) || name is "." or ".." || name.AsSpan().IndexOfAny(['/', '\\', '\0']) >= 0)
            throw new InvalidDataException($"'{name}' in column '{FileNameColumn}' cannot be the name of a file.");
        return name.EndsWith(Extension, StringComparison.OrdinalIgnoreCase) ? name : name + Extension;
    }

    private sealed class Mapper : MapperBase
    {
        private readonly VideoSavingTransformer _parent;
        private readonly int _video;
        private readonly int? _name;

        public Mapper(VideoSavingTransformer parent, DataViewSchema schema)
            : base(parent.Host.Register(nameof(Mapper)), schema, parent)
        {
            _parent = parent;
            _video = Find(schema, parent.InputColumnName, type => type is VideoDataViewType, AnyVideo);
            _name = parent.FileNameColumn is { } names
                ? Find(schema, names, type => type is TextDataViewType, TextDataViewType.Instance.ToString()) : null;
        }

        protected override DataViewSchema.DetachedColumn[] GetOutputColumnsCore()
            => [new DataViewSchema.DetachedColumn(_parent.OutputPathColumnName, TextDataViewType.Instance)];

        protected override Delegate MakeGetter(DataViewRow input, int iinfo, Func<int, bool> activeOutput, out Action? disposer)
        {
            disposer = null;
            var getClip = input.GetGetter<VideoClip?>(input.Schema[_video]);
            var getFileName = FileNameGetter(input);
            // Within one pass over the data two rows of one name are a mistake; two predictions of one name replace each other's file.
            var written = input is DataViewRowCursor ? new HashSet<string>(StringComparer.OrdinalIgnoreCase) : null;
            VideoClip? clip = null;
            string path = "";
            long saved = -1;
            ValueGetter<ReadOnlyMemory<char>> getter = (ref ReadOnlyMemory<char> value) =>
            {
                if (saved != input.Position)        // a value may be asked for several times per row
                {
                    Host.CheckAlive();
                    getClip(ref clip);
                    path = clip is null ? "" : Save(clip, getFileName(), written);
                    saved = input.Position;
                }
                value = path.AsMemory();
            };
            return getter;
        }

        private protected override Func<int, bool> GetDependenciesCore(Func<int, bool> activeOutput)
            => column => activeOutput(0) && (column == _video || column == _name);

        private protected override void SaveModel(ModelSaveContext ctx) => _parent.SaveModel(ctx);

        private Func<string> FileNameGetter(DataViewRow input)
        {
            if (_name is { } column)
            {
                var getName = input.GetGetter<ReadOnlyMemory<char>>(input.Schema[column]);
                ReadOnlyMemory<char> name = default;
                return () =>
                {
                    getName(ref name);
                    return _parent.FileName(name.ToString());
                };
            }
            var getId = input.GetIdGetter();
            DataViewRowId id = default;
            return () =>
            {
                getId(ref id);
                return _parent.FileName(id);
            };
        }

        private string Save(VideoClip clip, string fileName, HashSet<string>? written)
        {
            string path = Path.Combine(_parent.Folder, fileName);
            if (written is not null && !written.Add(fileName))
                throw new InvalidDataException(
                    $"Two rows would be written to '{path}': the names in column '{_parent.FileNameColumn}' must differ.");
            if (ProcessGroup.IsStartedAlone || ProcessGroup.Current.IsFirst)
                VideoWriter.Write(path, clip);
            return path;
        }

        private int Find(DataViewSchema schema, string name, Func<DataViewType, bool> fits, string expected)
        {
            var column = schema.GetColumnOrNull(name) ?? throw Host.ExceptSchemaMismatch(nameof(schema), "input", name);
            return fits(column.Type) ? column.Index
                : throw Host.ExceptSchemaMismatch(nameof(schema), "input", name, expected, column.Type.ToString());
        }
    }
}
