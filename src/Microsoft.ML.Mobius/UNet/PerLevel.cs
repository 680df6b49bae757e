using System.Text.Json;
using System.Text.Json.Serialization;

namespace Microsoft.ML.Mobius.UNet;

/// <summary>A whole number for each level of a U-Net, or one for all: in JSON a list or a number, and written as it was read.</summary>
[JsonConverter(typeof(Converter))]
internal sealed class PerLevel
{
    private readonly int[] _values;

    private PerLevel(int[] values, bool isList) => (_values, IsList) = (values, isList);

    public bool IsList { get; }

    /// <summary>The numbers as they are written: one, or one per level.</summary>
    public IReadOnlyList<int> Values => _values;

    public int this[int level] => _values[IsList ? level : 0];

    public static implicit operator PerLevel(int value) => new([value], isList: false);

    public static implicit operator PerLevel(int[] values) => new(values, isList: true);

    private sealed class Converter : JsonConverter<PerLevel>
    {
        public override PerLevel Read(ref Utf8JsonReader reader, Type type, JsonSerializerOptions options)
            => reader.TokenType == JsonTokenType.StartArray ? JsonSerializer.Deserialize<int[]>(ref reader, options)! : reader.GetInt32();

        public override void Write(Utf8JsonWriter writer, PerLevel value, JsonSerializerOptions options)
        {
            if (value.IsList)
                JsonSerializer.Serialize(writer, value._values, options);
            else
                writer.WriteNumberValue(value._values[0]);
        }
    }
}
