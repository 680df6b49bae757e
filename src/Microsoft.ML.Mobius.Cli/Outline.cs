using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Spectre.Console;

namespace Microsoft.ML.Mobius.Cli;

using Text = Spectre.Console.Text;       // here, for Microsoft.ML.Mobius.Text is a namespace

/// <summary>Shows a JSON object to people: a line for a value, a table for a list of objects, a heading for an object.</summary>
internal static partial class Outline
{
    public static void Write(IAnsiConsole console, JsonObject json, int indent = 0)
    {
        var plain = json.Where(pair => !IsNested(pair.Value)).ToArray();
        if (plain.Length > 0)
        {
            var names = new GridColumn { NoWrap = plain.Max(pair => Words(pair.Key).Length) <= console.Profile.Width / 2 };
            var grid = new Grid().AddColumn(names.PadLeft(indent).PadRight(2)).AddColumn(new GridColumn().PadLeft(0).PadRight(0));
            foreach (var (name, value) in plain)
                grid.AddRow(new Text(Words(name)), new Text(Value(value)));
            console.Write(grid);
        }
        foreach (var (name, value) in json.Where(pair => IsNested(pair.Value)))
        {
            console.WriteLine();
            console.Write(new Padder(new Text(Words(name), new Style(decoration: Decoration.Bold)), new Padding(indent, 0, 0, 0)));
            if (value is JsonObject inner)
                Write(console, inner, indent + 2);
            else
                WriteRows(console, [.. value!.AsArray().Select(row => row!.AsObject())], indent + 2);
        }
    }

    /// <summary>A table where it is not too wide, else a block of lines per row.</summary>
    private static void WriteRows(IAnsiConsole console, JsonObject[] rows, int indent)
    {
        string[] names = [.. rows.SelectMany(row => row.Select(pair => pair.Key)).Distinct()];
        int width = names.Sum(name => 2 + Math.Max(Words(name).Length, rows.Max(row => Value(row[name]).Length)));
        if (indent + width <= console.Profile.Width)
        {
            console.Write(new Padder(Table(names, rows), new Padding(indent, 0, 0, 0)));
            return;
        }
        foreach (var (i, row) in rows.Index())
        {
            if (i > 0)
                console.WriteLine();
            Write(console, row, indent);
        }
    }

    private static Table Table(string[] names, JsonObject[] rows)
    {
        var table = new Table { Border = TableBorder.None, ShowHeaders = names.Length > 1 };
        foreach (string name in names)
        {
            bool isNumber = rows.All(row => row[name] is null || row[name]!.GetValueKind() == JsonValueKind.Number);
            table.AddColumn(new TableColumn(new Text(Words(name))) { Alignment = isNumber ? Justify.Right : Justify.Left, Padding = new Padding(0, 0, 2, 0) });
        }
        foreach (var row in rows)
            table.AddRow([.. names.Select(name => new Text(Value(row[name])))]);
        return table;
    }

    private static bool IsNested(JsonNode? value) => value is JsonObject { Count: > 0 } or JsonArray { Count: > 0 } and [JsonObject, ..];

    private static string Value(JsonNode? value) => value switch
    {
        null => "-",
        JsonArray list => list.Count == 0 ? "none" : string.Join(", ", list.Select(Value)),
        JsonObject => "none",
        _ => value.GetValueKind() switch
        {
            JsonValueKind.True => "yes",
            JsonValueKind.False => "no",
            JsonValueKind.Number => Number(double.Parse(value.ToJsonString(), CultureInfo.InvariantCulture)),
            _ => value.ToString() is { Length: > 0 } text ? text : "(empty)",
        },
    };

    private static string Number(double number) => number == Math.Floor(number) && Math.Abs(number) < 1e15
        ? number.ToString(Math.Abs(number) >= 10_000 ? "N0" : "F0", CultureInfo.InvariantCulture) : number.ToString("G5", CultureInfo.InvariantCulture);

    // heldOutLoss becomes held out loss; what is no such name stays as it is.
    private static string Words(string name) => name.AsSpan().ContainsAny(" _.") ? name : WordStart().Replace(name, " $0").ToLowerInvariant();

    [GeneratedRegex("(?<=[a-z])[A-Z]")]
    private static partial Regex WordStart();
}
