using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Mobius;
using Microsoft.ML.Mobius.Video;
using Microsoft.ML.Runtime;

[assembly: LoadableClass(typeof(VideoLoadingTransformer), null, typeof(SignatureLoadModel),
    "Video loader", VideoLoadingTransformer.LoaderSignature)]

namespace Microsoft.ML.Mobius;

/// <summary>Adds a column of clips read from the files that a text column names.</summary>
/// <seealso cref="VideoCatalog.LoadVideos"/>
public sealed class VideoLoadingTransformer : OneToOneTransformerBase
{
    internal const string LoaderSignature = "MobiusVideoLoader";

    internal VideoLoadingTransformer(
        IHostEnvironment env, string outputColumnName, string inputColumnName, VideoReadOptions options, string? videoFolder)
        : base(Contracts.CheckRef(env, nameof(env)).Register(nameof(VideoLoadingTransformer)), (outputColumnName, inputColumnName))
    {
        options.Validate();
        if (!string.IsNullOrEmpty(videoFolder) && !Directory.Exists(videoFolder))
            throw new ArgumentException($"The folder '{videoFolder}' does not exist.", nameof(videoFolder));
        Options = options;
        VideoFolder = string.IsNullOrEmpty(videoFolder) ? null : videoFolder;
    }

    private VideoLoadingTransformer(IHost host, ModelLoadContext ctx)
        : base(host, ctx)
    {
        // <base>, string or null: folder, int frames, int width, int height, double frames/s, int what to do with short clips
        VideoFolder = ctx.LoadStringOrNull();
        Options = new VideoReadOptions
        {
            FrameCount = ctx.Reader.ReadInt32(),
            Width = ctx.Reader.ReadInt32(),
            Height = ctx.Reader.ReadInt32(),
            FrameRate = ctx.Reader.ReadDouble(),
            ShortClip = (ShortClip)ctx.Reader.ReadInt32(),
        };
        Options.Validate();
    }

    /// <summary>Length, size and rate of the clips.</summary>
    public VideoReadOptions Options { get; }

    /// <summary>The folder that relative paths start from, or null for the current folder.</summary>
    public string? VideoFolder { get; }

    internal VideoDataViewType OutputType => new(Options.FrameCount, Options.Height, Options.Width);

    private static VersionInfo GetVersionInfo() => new(
        modelSignature: "MBVIDLOD",
        verWrittenCur: 0x00010001,
        verReadableCur: 0x00010001,
        verWeCanReadBack: 0x00010001,
        loaderSignature: LoaderSignature,
        loaderAssemblyName: typeof(VideoLoadingTransformer).Assembly.FullName);

    // Found by ML.NET through the LoadableClass attribute above.
    private static VideoLoadingTransformer Create(IHostEnvironment env, ModelLoadContext ctx)
    {
        Contracts.CheckValue(env, nameof(env));
        var host = env.Register(LoaderSignature);
        host.CheckValue(ctx, nameof(ctx));
        ctx.CheckAtModel(GetVersionInfo());
        return new VideoLoadingTransformer(host, ctx);
    }

    private protected override void SaveModel(ModelSaveContext ctx)
    {
        Host.CheckValue(ctx, nameof(ctx));
        ctx.CheckAtModel();
        ctx.SetVersionInfo(GetVersionInfo());
        SaveColumns(ctx);
        ctx.SaveStringOrNull(VideoFolder);
        ctx.Writer.Write(Options.FrameCount);
        ctx.Writer.Write(Options.Width);
        ctx.Writer.Write(Options.Height);
        ctx.Writer.Write(Options.FrameRate);
        ctx.Writer.Write((int)Options.ShortClip);
    }

    private protected override void CheckInputColumn(DataViewSchema inputSchema, int col, int srcCol)
    {
        if (inputSchema[srcCol].Type is not TextDataViewType)
            throw Host.ExceptSchemaMismatch(nameof(inputSchema), "input", ColumnPairs[col].inputColumnName,
                TextDataViewType.Instance.ToString(), inputSchema[srcCol].Type.ToString());
    }

    private protected override IRowMapper MakeRowMapper(DataViewSchema schema) => new Mapper(this, schema);

    private sealed class Mapper : OneToOneMapperBase
    {
        private readonly VideoLoadingTransformer _parent;

        public Mapper(VideoLoadingTransformer parent, DataViewSchema schema)
            : base(parent.Host.Register(nameof(Mapper)), parent, schema)
            => _parent = parent;

        protected override DataViewSchema.DetachedColumn[] GetOutputColumnsCore()
            => [new DataViewSchema.DetachedColumn(_parent.ColumnPairs[0].outputColumnName, _parent.OutputType)];

        protected override Delegate MakeGetter(DataViewRow input, int iinfo, Func<int, bool> activeOutput, out Action? disposer)
        {
            disposer = null;
            var getPath = input.GetGetter<ReadOnlyMemory<char>>(input.Schema[ColMapNewToOld[iinfo]]);
            ReadOnlyMemory<char> path = default;
            long loaded = -1;
            VideoClip? clip = null;
            ValueGetter<VideoClip?> getter = (ref VideoClip? value) =>
            {
                if (loaded != input.Position)       // a value may be asked for several times per row
                {
                    Host.CheckAlive();
                    getPath(ref path);
                    clip = path.IsEmpty
                        ? null : VideoReader.Read(Path.Combine(_parent.VideoFolder ?? "", path.ToString()), _parent.Options);
                    loaded = input.Position;
                }
                value = clip;
            };
            return getter;
        }
    }
}
