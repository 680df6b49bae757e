using Microsoft.ML.Data;
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

        public Mapper(TextToVideoTransformer parent, DataViewSchema schema)
            : base(parent.Host.Register(nameof(Mapper)), schema, parent)
        {
            _parent = parent;
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
            var getPrompt = Text(input, _prompt);
            var getNegativePrompt = _negativePrompt is { } negativePrompts ? Text(input, negativePrompts) : () => _generation.NegativePrompt;
            var getSeed = Seed(input);
            var getSource = _source is { } sources ? Source(input, sources) : null;
            // A value may be asked for several times per row. What decides it decides whether it is the same one, too.
            (string, string, long, VideoClip?)? made = null;
            VideoClip? clip = null;
            ValueGetter<VideoClip?> getter = (ref VideoClip? value) =>
            {
                string prompt = getPrompt(), negativePrompt = getNegativePrompt();
                long seed = getSeed?.Invoke() ?? _generation.SeedOf(prompt);
                var source = getSource?.Invoke();
                if (made != (prompt, negativePrompt, seed, source))
                {
                    WarnIfCut(prompt, input.Position);
                    clip = _parent.Generate(prompt, negativePrompt, _generation, seed, start: source is null ? null : new() { Source = source });
                    made = (prompt, negativePrompt, seed, source);
                }
                value = clip;
            };
            return getter;
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
    }
}
