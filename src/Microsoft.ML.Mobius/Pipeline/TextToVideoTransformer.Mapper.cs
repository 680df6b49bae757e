using Microsoft.ML.Data;
using Microsoft.ML.Mobius.Distributed;
using Microsoft.ML.Mobius.Video;
using Microsoft.ML.Runtime;

namespace Microsoft.ML.Mobius;

public sealed partial class TextToVideoTransformer
{
    private sealed class Mapper : MapperBase
    {
        private readonly TextToVideoTransformer _parent;
        private readonly GenerationOptions _generation;
        private readonly DataViewSchema.Column _prompt;
        private readonly DataViewSchema.Column? _negativePrompt;
        private readonly DataViewSchema.Column? _seed;
        private readonly DataViewSchema.Column? _source;
        private readonly IDataView? _shared;

        /// <param name="parent">The transformer.</param>
        /// <param name="schema">Of the input.</param>
        /// <param name="shared">The input, where several ranks share its rows out; null where each makes the rows it is asked for.</param>
        public Mapper(TextToVideoTransformer parent, DataViewSchema schema, IDataView? shared = null)
            : base(parent.Host.Register(nameof(Mapper)), schema, parent)
        {
            (_parent, _shared) = (parent, shared);
            _generation = parent.Generation;
            _prompt = Find(schema, parent.InputColumnName, "input", TextDataViewType.Instance);
            _negativePrompt = parent.NegativePromptColumnName is { } negativePrompts
                ? Find(schema, negativePrompts, "negative prompt", TextDataViewType.Instance) : null;
            _seed = parent.SeedColumnName is { } seeds ? Find(schema, seeds, "seed", NumberDataViewType.Int64) : null;
            if (!_generation.NeedsSource)
                return;
            string sources = parent.SourceColumnName ?? throw Host.ExceptUserArg(nameof(Generation), FormattableString.Invariant(
                $"Strength is {_generation.Strength} and HeldFrames {_generation.HeldFrames}, but the model was fitted without a source column."));
            var column = schema.GetColumnOrNull(sources) ?? throw Host.ExceptSchemaMismatch(nameof(schema), "source", sources);
            _source = column.Type is VideoDataViewType ? column
                : throw Host.ExceptSchemaMismatch(nameof(schema), "source", sources, "Video", column.Type.ToString()!);
        }

        protected override DataViewSchema.DetachedColumn[] GetOutputColumnsCore()
            => [new(_parent.OutputColumnName, new VideoDataViewType(_generation.FrameCount, _generation.Height, _generation.Width))];

        protected override Delegate MakeGetter(DataViewRow input, int iinfo, Func<int, bool> activeOutput, out Action? disposer)
        {
            disposer = null;
            var read = Reader(input);
            // A value may be asked for several times per row. What decides it decides whether it is the same one, too.
            Row? made = null;
            VideoClip? clip = null;
            Func<Row, VideoClip> make = row => Made(row);
            if (_shared is not null)
            {
                var rows = new Queue<Row>();
                var videos = ProcessGroup.Current.InTurn(Ahead(rows), VideoMessage.Of, VideoMessage.Read).GetEnumerator();
                long next = 0;
                disposer = videos.Dispose;
                make = row =>
                {
                    (VideoClip? video, Row? ahead) = (null, null);
                    for (; next <= input.Position && videos.MoveNext(); next++)
                        (video, ahead) = (videos.Current, rows.Dequeue());
                    if (ahead is null || ahead != row with { Source = ahead.Source })
                        throw Host.Except("Several ranks share the rows out: they must be read in their order, and be the same each time.");
                    return video!;
                };
            }
            ValueGetter<VideoClip?> getter = (ref VideoClip? value) =>
            {
                var row = read();
                if (made != row)
                {
                    WarnIfCut(row.Prompt, input.Position);
                    clip = make(row);
                    made = row;
                }
                value = clip;
            };
            return getter;
        }

        private VideoClip Made(Row row) => _parent.Generate(
            row.Prompt, row.NegativePrompt, _generation, row.Seed, start: row.Source is { } source ? new() { Source = source } : null);

        /// <summary>What decides a row's video.</summary>
        private Func<Row> Reader(DataViewRow input)
        {
            var getPrompt = Text(input, _prompt);
            var getNegativePrompt = _negativePrompt is { } negativePrompts ? Text(input, negativePrompts) : () => _generation.NegativePrompt;
            var getSeed = Seed(input);
            var getSource = _source is { } sources ? Source(input, sources) : null;
            return () =>
            {
                string prompt = getPrompt();
                return new Row(prompt, getNegativePrompt(), getSeed?.Invoke() ?? _generation.SeedOf(prompt), getSource?.Invoke());
            };
        }

        /// <summary>The videos of all rows, each to be made by one of the ranks; the rows are kept for comparison.</summary>
        private IEnumerable<Func<VideoClip>> Ahead(Queue<Row> rows)
        {
            using var cursor = _shared!.GetRowCursor(
                new[] { _prompt, _negativePrompt, _seed, _source }.OfType<DataViewSchema.Column>());
            var read = Reader(cursor);
            while (cursor.MoveNext())
            {
                var row = read();
                rows.Enqueue(row);
                yield return () => Made(row);
            }
        }

        private protected override Func<int, bool> GetDependenciesCore(Func<int, bool> activeOutput)
            => column => activeOutput(0) && (column == _prompt.Index || column == _negativePrompt?.Index || column == _seed?.Index || column == _source?.Index);

        private protected override void SaveModel(ModelSaveContext ctx) => _parent.SaveModel(ctx);

        private DataViewSchema.Column Find(DataViewSchema schema, string name, string role, DataViewType expected)
        {
            var column = schema.GetColumnOrNull(name) ?? throw Host.ExceptSchemaMismatch(nameof(schema), role, name);
            return column.Type == expected ? column
                : throw Host.ExceptSchemaMismatch(nameof(schema), role, name, expected.ToString()!, column.Type.ToString()!);
        }

        private static Func<string> Text(DataViewRow row, DataViewSchema.Column column)
        {
            var get = row.GetGetter<ReadOnlyMemory<char>>(column);
            ReadOnlyMemory<char> text = default;
            return () =>
            {
                get(ref text);
                return text.ToString();
            };
        }

        private static Func<VideoClip> Source(DataViewRow row, DataViewSchema.Column column)
        {
            var get = row.GetGetter<VideoClip?>(column);
            VideoClip? clip = null;
            return () =>
            {
                get(ref clip);
                return clip ?? throw new InvalidDataException($"Row {row.Position}: there is no clip in column '{column.Name}'.");
            };
        }

        private Func<long>? Seed(DataViewRow row)
        {
            if (_seed is not { } column)
                return null;
            var get = row.GetGetter<long>(column);
            long seed = 0;
            return () =>
            {
                get(ref seed);
                return seed;
            };
        }

        private void WarnIfCut(string prompt, long row)
        {
            var tokenizer = _parent._model.Tokenizer;
            var tokens = _parent._model.TokensOf(prompt, _generation.PromptWeights);
            if (!tokens.IsCut)
                return;
            using var channel = Host.Start("Generating");
            channel.Warning($"Row {row}: the prompt has {tokens.TokenCount} tokens, the model reads {tokenizer.MaxLength - 2}; its end is cut.");
        }

        private sealed record Row(string Prompt, string NegativePrompt, long Seed, VideoClip? Source);
    }
}
