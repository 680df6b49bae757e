using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Microsoft.ML.Tokenizers;

namespace Microsoft.ML.Mobius.Text;

/// <summary>Turns a caption into CLIP's token ids, exactly as transformers' CLIPTokenizer without ftfy does.</summary>
/// <remarks>
/// The text is cleaned and split by <see cref="ClipWords"/>; each word becomes UTF-8 bytes, each byte a printable character, and
/// byte-pair merges join them, the word's last piece bearing the suffix &lt;/w&gt;. Thread-safe.
/// </remarks>
internal sealed class ClipTokenizer
{
    public const string StartOfText = "<|startoftext|>";
    public const string EndOfText = "<|endoftext|>";
    public const string EndOfWord = "</w>";
    public const int DefaultMaxLength = 77;

    private const int MinLength = 3;
    private const int MaxMerges = 49152 - 256 - 2;      // transformers reads no more, however long the file
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
    private readonly string _vocabText;
    private readonly string _mergesText;
    private readonly BpeTokenizer _pairs;
    private readonly int _start;
    private readonly int _end;
    private readonly int _pad;

    private ClipTokenizer(string vocabText, string mergesText, string padToken, int maxLength)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxLength, MinLength);
        (_vocabText, _mergesText, PadToken, MaxLength) = (vocabText, mergesText, padToken, maxLength);
        var vocabulary = Vocabulary(vocabText);
        VocabularySize = vocabulary.Values.Max() + 1;
        int IdOf(string token) => vocabulary.TryGetValue(token, out int id) ? id
            : throw new InvalidDataException($"vocab.json has {vocabulary.Count} tokens, but '{token}' is not among them.");
        (_start, _end, _pad) = (IdOf(StartOfText), IdOf(EndOfText), IdOf(padToken));
        foreach (char symbol in ClipBytes.Symbols)
            _ = (IdOf(symbol.ToString()), IdOf(symbol + EndOfWord));
        try
        {
            // The first line is the version, not a merge.
            var merges = mergesText.Trim().Split('\n').Skip(1).Take(MaxMerges).Select(line => line.TrimEnd('\r'));
            _pairs = BpeTokenizer.Create(new BpeOptions(vocabulary) { Merges = merges, EndOfWordSuffix = EndOfWord });
        }
        catch (Exception e) when (e is InvalidOperationException or ArgumentException)
        {
            throw new InvalidDataException($"merges.txt does not fit vocab.json: {e.Message}", e);
        }
    }

    /// <summary>What fills the ids after the end token, by default that token again; within a caption its text is a token of its own.</summary>
    public string PadToken { get; }

    /// <summary>The number of ids of each caption, start and end token included; 77 by default.</summary>
    public int MaxLength { get; }

    /// <summary>One more than the highest id.</summary>
    public int VocabularySize { get; }

    /// <summary>Reads CLIP's two files; the streams stay open.</summary>
    /// <exception cref="InvalidDataException">A file is damaged, or the vocabulary lacks a byte or a special token.</exception>
    public static ClipTokenizer Create(Stream vocab, Stream merges, string padToken = EndOfText, int maxLength = DefaultMaxLength) =>
        new(Text(vocab), Text(merges), padToken, maxLength);

    /// <summary>Reads a tokenizer folder: vocab.json and merges.txt, and special_tokens_map.json and tokenizer_config.json where present.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="positions">As many ids as the text encoder reads: a larger limit of the folder's counts no more.</param>
    /// <exception cref="FileNotFoundException">vocab.json or merges.txt is not there.</exception>
    /// <exception cref="InvalidDataException">A file is damaged, or the vocabulary lacks a byte or a special token.</exception>
    public static ClipTokenizer FromFolder(string folder, int positions = DefaultMaxLength)
    {
        foreach (string name in new[] { "vocab.json", "merges.txt" })
            if (!File.Exists(Path.Combine(folder, name)))
                throw new FileNotFoundException($"{name} is missing in the tokenizer's folder '{folder}'.", Path.Combine(folder, name));
        using var config = Json(Path.Combine(folder, "tokenizer_config.json"));
        using var special = Json(Path.Combine(folder, "special_tokens_map.json"));
        string pad = TokenOf(special, "pad_token") ?? TokenOf(config, "pad_token") ?? EndOfText;
        // A tokenizer without a limit says so by a huge number; the text encoder's positions still end.
        int length = config is not null && config.RootElement.TryGetProperty("model_max_length", out var value)
            && value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int limit) ? Math.Min(limit, positions) : positions;
        if (length < MinLength)
            throw new InvalidDataException($"A caption may have {length} tokens by tokenizer_config.json's model_max_length and the text encoder; at least {MinLength} are needed: start, one, end.");
        using var vocab = File.OpenRead(Path.Combine(folder, "vocab.json"));
        using var merges = File.OpenRead(Path.Combine(folder, "merges.txt"));
        return Create(vocab, merges, pad, length);
    }

    /// <summary>Writes vocab.json and merges.txt as they were read.</summary>
    public void Save(Stream vocab, Stream merges)
    {
        vocab.Write(Encoding.UTF8.GetBytes(_vocabText));
        merges.Write(Encoding.UTF8.GetBytes(_mergesText));
    }

    /// <summary>Writes a folder that <see cref="FromFolder"/> and transformers read.</summary>
    public void Save(string folder)
    {
        Directory.CreateDirectory(folder);
        var special = new Dictionary<string, object>
        {
            ["bos_token"] = StartOfText, ["eos_token"] = EndOfText, ["unk_token"] = EndOfText, ["pad_token"] = PadToken,
        };
        var config = new Dictionary<string, object>(special) { ["tokenizer_class"] = "CLIPTokenizer", ["model_max_length"] = MaxLength, ["do_lower_case"] = true };
        File.WriteAllText(Path.Combine(folder, "vocab.json"), _vocabText);
        File.WriteAllText(Path.Combine(folder, "merges.txt"), _mergesText);
        File.WriteAllText(Path.Combine(folder, "special_tokens_map.json"), JsonSerializer.Serialize(special, s_indented));
        File.WriteAllText(Path.Combine(folder, "tokenizer_config.json"), JsonSerializer.Serialize(config, s_indented));
    }

    /// <summary>The ids of a caption, cut or padded to <see cref="MaxLength"/>.</summary>
    public TokenizedText Encode(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return Encode([new WeightedText(text, 1)]);
    }

    /// <summary>The same of a prompt in parts, each cut into tokens by itself.</summary>
    public TokenizedText Encode(IReadOnlyList<WeightedText> prompt)
    {
        var tokens = prompt.SelectMany(part => TokensOf(part.Text).Select(id => (Id: id, part.Weight))).ToList();
        int kept = Math.Min(tokens.Count, MaxLength - 2);
        var ids = new long[MaxLength];
        var weights = new float[MaxLength];
        Array.Fill(weights, 1);
        ids[0] = _start;
        for (int i = 0; i < kept; i++)
            (ids[i + 1], weights[i + 1]) = (tokens[i].Id, (float)tokens[i].Weight);
        ids[kept + 1] = _end;
        Array.Fill(ids, _pad, kept + 2, MaxLength - kept - 2);
        return new TokenizedText(ids, tokens.Count, kept < tokens.Count, weights);
    }

    private List<int> TokensOf(string text)
    {
        var tokens = new List<int>();
        string[] pieces = PadToken is StartOfText or EndOfText ? [text] : text.Split(PadToken);
        for (int i = 0; i < pieces.Length; i++)
        {
            if (i > 0)
                tokens.Add(_pad);
            foreach (string word in ClipWords.Of(pieces[i]))
            {
                if (word == StartOfText)
                    tokens.Add(_start);
                else if (word == EndOfText)
                    tokens.Add(_end);
                else
                    tokens.AddRange(_pairs.EncodeToIds(ClipBytes.Map(word), considerPreTokenization: false, considerNormalization: false));
            }
        }
        return tokens;
    }

    /// <summary>A caption in the pieces that the model reads, divided by dots within words; without what is cut, start and end.</summary>
    public string Spelled(string text)
    {
        var tokens = Vocabulary(_vocabText).ToDictionary(pair => pair.Value, pair => pair.Key);
        var encoded = Encode(text);
        int kept = Math.Min(encoded.TokenCount, MaxLength - 2);
        var pieces = encoded.Ids.Skip(1).Take(kept).Select(id => tokens[(int)id]);
        return string.Concat(pieces.Select(piece => piece.EndsWith(EndOfWord, StringComparison.Ordinal) ? piece[..^EndOfWord.Length] + " " : piece + "·"))
            .TrimEnd() + (encoded.IsCut ? $" ({encoded.TokenCount - kept} more are cut)" : "");
    }

    private static Dictionary<string, int> Vocabulary(string json)
    {
        try
        {
            var vocabulary = JsonSerializer.Deserialize<Dictionary<string, int>>(json);
            if (vocabulary is not { Count: > 0 } || vocabulary.Values.Min() < 0)
                throw new InvalidDataException("vocab.json must map at least one token to an id of at least 0.");
            return vocabulary;
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"vocab.json must be an object of tokens and whole numbers. {e.Message}", e);
        }
    }

    private static string Text(Stream stream)
    {
        using var reader = new StreamReader(stream, Encoding.UTF8, leaveOpen: true);
        return reader.ReadToEnd();
    }

    private static JsonDocument? Json(string path)
    {
        if (!File.Exists(path))
            return null;
        try
        {
            var document = JsonDocument.Parse(File.ReadAllText(path));
            return document.RootElement.ValueKind == JsonValueKind.Object ? document : throw new JsonException("An object is expected.");
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"{Path.GetFileName(path)}: {e.Message}", e);
        }
    }

    /// <summary>A special token is written as a text, or as an object with the text under "content".</summary>
    private static string? TokenOf(JsonDocument? document, string name)
    {
        if (document is null || !document.RootElement.TryGetProperty(name, out var token))
            return null;
        if (token.ValueKind == JsonValueKind.Object && token.TryGetProperty("content", out var content))
            token = content;
        return token.ValueKind == JsonValueKind.String && token.GetString() is { Length: > 0 } text ? text : null;
    }
}
