using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Microsoft.ML.Mobius.Models;

/// <summary>
/// A component's JSON file: read, completed by the defaults of the class that wrote it (which leaves some out), and held against what is supported.
/// </summary>
internal sealed partial class ComponentConfig
{
    private static readonly JsonDocumentOptions s_strict = new() { AllowDuplicateProperties = false };

    private readonly string _name;

    private ComponentConfig(string name, JsonObject json) => (_name, Json) = (name, json);

    /// <summary>All keys, those unknown to us, too.</summary>
    public JsonObject Json { get; }

    /// <param name="folder">The model folder.</param>
    /// <param name="name">The file, relative to it.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">It is not a JSON object.</exception>
    public static ComponentConfig Read(string folder, string name)
    {
        string path = Path.Combine(folder, name);
        if (!File.Exists(path))
            throw new FileNotFoundException($"{name} is missing in the model folder '{folder}'.", path);
        try
        {
            string text = Infinities().Replace(File.ReadAllText(path), "null");
            var json = JsonNode.Parse(text, documentOptions: s_strict) as JsonObject ?? throw new JsonException("an object is expected");
            return new ComponentConfig(name, json);
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"{name} cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Fills in what the file leaves out.</summary>
    public ComponentConfig WithDefaults(string json)
    {
        foreach (var (key, value) in JsonNode.Parse(json)!.AsObject())
            Json.TryAdd(key, value?.DeepClone());
        return this;
    }

    /// <summary>Refuses every value but those supported; a key that is left out is fine.</summary>
    /// <param name="supported">Values by key, as JSON; several values stand in an array.</param>
    /// <exception cref="InvalidDataException">There is another value.</exception>
    public ComponentConfig Supporting(string supported)
    {
        foreach (var (key, values) in JsonNode.Parse(supported)!.AsObject())
            if (Json.TryGetPropertyValue(key, out var found) && !values!.AsArray().Any(value => JsonNode.DeepEquals(value, found)))
                throw Wrong(key, $"supported: {string.Join(", ", values.AsArray().Select(value => value?.ToJsonString() ?? "null"))}");
        return this;
    }

    /// <summary>Refuses lists that are not of these texts.</summary>
    /// <exception cref="InvalidDataException">There is another element, or no list.</exception>
    public ComponentConfig ListOf(string key, params string[] known)
    {
        if (Json[key] is not JsonArray { Count: > 0 } list || list.Any(item => item is not JsonValue value || !value.TryGetValue(out string? text) || !known.Contains(text)))
            throw Wrong(key, $"expected a list of {string.Join(", ", known)}");
        return this;
    }

    /// <summary>Refuses numbers that are not whole, or out of range; a list of numbers is checked one by one.</summary>
    /// <exception cref="InvalidDataException">There is such a number.</exception>
    public ComponentConfig Whole(int largest, params string[] keys)
    {
        foreach (string key in keys)
        {
            bool Fits(JsonNode? node) => node is JsonValue value && value.TryGetValue(out int number) && number >= 1 && number <= largest;
            if (!(Json[key] is JsonArray { Count: > 0 } list ? list.All(Fits) : Fits(Json[key])))
                throw Wrong(key, $"expected whole numbers from 1 to {largest}");
        }
        return this;
    }

    /// <param name="check">Throws <see cref="ArgumentException"/> for what it refuses.</param>
    /// <exception cref="InvalidDataException">A value is missing, of another type, or refused.</exception>
    public T As<T>(Action<T>? check = null)
    {
        try
        {
            var config = Json.Deserialize<T>()!;
            check?.Invoke(config);
            return config;
        }
        catch (Exception e) when (e is JsonException or NotSupportedException or ArgumentException)
        {
            throw new InvalidDataException($"{_name} cannot be used: {e.Message}", e);
        }
    }

    /// <summary>Checks the class that the file names, if it names one.</summary>
    /// <exception cref="InvalidDataException">It is another.</exception>
    public ComponentConfig OfClass(string name)
    {
        if (Json.TryGetPropertyValue("_class_name", out var found) && found?.ToString() != name)
            throw Wrong("_class_name", $"model_index.json says {name}");
        Json["_class_name"] = name;
        return this;
    }

    public InvalidDataException Wrong(string key, string expected)
        => new($"{_name}: {key} is {(Json.TryGetPropertyValue(key, out var found) ? found?.ToJsonString() ?? "null" : "missing")}; {expected}.");

    /// <summary>Numbers that Python writes, though JSON does not have them.</summary>
    [GeneratedRegex(@"(?<=[:,\[]\s*)-?Infinity(?=\s*[,}\]])")]
    private static partial Regex Infinities();
}
