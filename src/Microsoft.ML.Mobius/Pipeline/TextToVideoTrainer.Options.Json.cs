using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using Microsoft.ML.Mobius.Files;

namespace Microsoft.ML.Mobius;

public sealed partial class TextToVideoTrainer
{
    public sealed partial class Options
    {
        private static readonly JsonSerializerOptions s_json = new()
        {
            PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
            UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
            Converters = { new JsonStringEnumConverter(allowIntegerValues: false) },
            TypeInfoResolver = new DefaultJsonTypeInfoResolver(),
            Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
            WriteIndented = true,
        };

        internal static JsonSerializerOptions Json => s_json;

        /// <summary>Reads options from a JSON file, as <see cref="Write"/> writes it; what it leaves out has its default.</summary>
        /// <param name="path">The file: one object, with a key for each option, as learningRate, and names for the choices. Comments are allowed.</param>
        /// <returns>The options, checked as far as can be without the model.</returns>
        /// <exception cref="InvalidDataException">It is not JSON, or has keys that are no options, or values that cannot be; the message names them all.</exception>
        /// <exception cref="IOException">It cannot be read.</exception>
        public static Options Read(string path)
        {
            using var json = Parse(path);
            var known = s_json.GetTypeInfo(typeof(Options)).Properties.Where(option => option.Set is not null)
                .ToDictionary(option => option.Name, StringComparer.OrdinalIgnoreCase);
            var options = new Options();
            var problems = new List<string>();
            var seen = new HashSet<string>();
            foreach (var entry in json.RootElement.EnumerateObject())
            {
                if (!known.TryGetValue(entry.Name, out var option))
                    problems.Add($"'{entry.Name}' is no option.");
                else if (!seen.Add(option.Name))
                    problems.Add($"'{option.Name}' is there twice.");
                else
                    Set(options, option, entry.Value, problems);
            }
            problems.AddRange(options.Problems());
            if (problems.Any(problem => problem.EndsWith("is no option.", StringComparison.Ordinal)))
                problems.Add($"Options are {string.Join(", ", known.Keys)}.");
            return problems.Count == 0 ? options : throw new InvalidDataException($"'{path}' cannot be used: {string.Join(' ', problems)}");
        }

        /// <summary>
        /// Writes all options but <see cref="Progress"/> and <see cref="CancellationToken"/> to a JSON file, replacing it as a whole.
        /// </summary>
        /// <param name="path">The file; its folder is made if it is missing.</param>
        /// <exception cref="IOException">It cannot be written.</exception>
        public void Write(string path) => FileAside.WriteThrough(path, stream => JsonSerializer.Serialize(stream, this, s_json));

        private static JsonDocument Parse(string path)
        {
            JsonDocument json;
            try
            {
                json = JsonDocument.Parse(File.ReadAllText(path), new JsonDocumentOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true });
            }
            catch (JsonException e)
            {
                throw new InvalidDataException($"'{path}' is not JSON: {e.Message}", e);
            }
            if (json.RootElement.ValueKind == JsonValueKind.Object)
                return json;
            json.Dispose();
            throw new InvalidDataException($"'{path}' is not one object with a key for each option.");
        }

        private static void Set(Options options, JsonPropertyInfo option, JsonElement value, List<string> problems)
        {
            try
            {
                option.Set!(options, value.Deserialize(option.PropertyType, s_json));
            }
            catch (JsonException)
            {
                problems.Add($"'{option.Name}' is {value.GetRawText()}; expected is {Expected(option.PropertyType)}.");
            }
        }

        private static string Expected(Type type)
        {
            type = Nullable.GetUnderlyingType(type) ?? type;
            return type.IsEnum ? $"one of {string.Join(", ", Enum.GetNames(type))}"
                : type == typeof(int) || type == typeof(long) ? "a whole number"
                : type == typeof(double) ? "a number"
                : type == typeof(bool) ? "true or false"
                : type == typeof(string) ? "a text in quotation marks"
                : type == typeof(IReadOnlyList<string>) ? "a list of texts"
                : type == typeof(IReadOnlyList<int>) ? "a list of whole numbers as [1, 8]"
                : """a list of objects as {"path": "style.safetensors", "scale": 1}""";
        }
    }
}
