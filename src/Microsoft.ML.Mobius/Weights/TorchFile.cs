using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Weights;

/// <summary>A state dict of torch.save: a zip of a pickle and storages or, before PyTorch 1.6, pickles and storages in a row.</summary>
/// <remarks>
/// See torch/serialization.py and torch/_utils.py of PyTorch. The pickle is read as data (see <see cref="Unpickler"/>): of classes and
/// functions it may name only those that a state dict is made of. The state dict is the dict itself or what it holds under
/// <c>state_dict</c>, as the checkpoints of PyTorch Lightning do; numbers and texts beside the tensors, as an epoch, are left out.
/// </remarks>
internal sealed class TorchFile : WeightFile
{
    private static readonly BigInteger MagicNumber = BigInteger.Parse("1950a86a20f9469cfc6c", NumberStyles.HexNumber);
    private const long LegacyVersion = 1001;

    private static readonly Dictionary<string, ScalarType> StorageTypes = new()
    {
        ["torch.DoubleStorage"] = ScalarType.Float64,
        ["torch.FloatStorage"] = ScalarType.Float32,
        ["torch.HalfStorage"] = ScalarType.Float16,
        ["torch.BFloat16Storage"] = ScalarType.BFloat16,
        ["torch.LongStorage"] = ScalarType.Int64,
        ["torch.IntStorage"] = ScalarType.Int32,
        ["torch.ByteStorage"] = ScalarType.Byte,
        ["torch.BoolStorage"] = ScalarType.Bool,
        ["torch.UntypedStorage"] = ScalarType.Byte,
        ["torch.storage.UntypedStorage"] = ScalarType.Byte,
    };

    /// <summary>What published checkpoints hold beside their state dict: read over, and refused within it.</summary>
    private static readonly HashSet<string> Beside =
    [
        "__builtin__.set",
        "_codecs.encode",
        "numpy.core.multiarray.scalar",
        "numpy.dtype",
        "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    ];

    private readonly MappedFile _file;
    private readonly Allowance _allowance;
    private readonly Dictionary<string, Storage> _storages = [];
    private readonly OrderedDictionary<string, WeightEntry> _entries = [];

    private TorchFile(MappedFile file)
        : base(file.Name)
    {
        _file = file;
        _allowance = new Allowance(file.Name);
    }

    public override IReadOnlyDictionary<string, WeightEntry> Entries => _entries;

    /// <summary>Opens a zip, as PyTorch 1.6 and later write it.</summary>
    /// <exception cref="InvalidDataException">It is not a whole and correct file of a state dict of tensors.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static TorchFile OpenZip(string path) => OpenFile(path, file => file.ReadZip());

    /// <summary>Opens a row of pickles, as earlier ones write it.</summary>
    /// <exception cref="InvalidDataException">It is not a whole and correct file of a state dict of tensors.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static TorchFile OpenLegacy(string path) => OpenFile(path, file => file.ReadLegacy());

    public override void CopyTo(string name, Tensor target)
    {
        var view = (View)Entry(name);
        long offset = view.Storage.Offset + view.Begin * TensorBytes.SizeOf(view.Type);
        if (view.IsContiguous)
        {
            _file.Fill(target, view.Type, offset);
            return;
        }
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var span = empty(view.Span, view.Type, CPU);
        _file.Fill(span, view.Type, offset);
        target.copy_(span.as_strided(view.Shape, view.Strides).reshape(target.shape));
    }

    public override void Dispose() => _file.Dispose();

    private static TorchFile OpenFile(string path, Action<TorchFile> read)
    {
        var file = new TorchFile(new MappedFile(path));
        try
        {
            read(file);
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private void ReadZip()
    {
        var places = StoredZip.Entries(_file, _allowance);
        var pickles = places.Keys.Where(name => name.IndexOf('/') is var slash && slash >= 0 && name[slash..] == "/data.pkl").ToList();
        if (pickles is not [var pickle])
            throw Refused($" is a zip, but not one of torch.save: it has {pickles.Count} entries FOLDER/data.pkl.");
        string folder = pickle[..^"data.pkl".Length];
        if (places.ContainsKey(folder + "constants.pkl"))
            throw Refused($" is a TorchScript program, not a state dict: it is not read.");
        if (places.TryGetValue(folder + "byteorder", out var order))
        {
            var text = new byte[Math.Min(order.Length, 16)];
            _file.Read(order.Offset, text);
            CheckLittleEndian(text.AsSpan().SequenceEqual("little"u8));
        }

        using var stream = _file.Open(places[pickle].Offset, places[pickle].Length);
        var root = Load(stream, id =>
        {
            var storage = StorageOf(id);
            if (!places.TryGetValue($"{folder}data/{storage.Key}", out var place))
                throw Refused($" has no data of the storage '{storage.Key}'.");
            if (place.Length != storage.Bytes)
            {
                throw Refused($": the storage '{storage.Key}' of {storage.Count} elements of {storage.Type} needs {storage.Bytes} bytes, "
                    + $"but {place.Length} are there.");
            }
            storage.Offset = place.Offset;
            return storage;
        });
        AddTensors(root);
    }

    private void ReadLegacy()
    {
        using var stream = _file.Open(0, _file.Length);
        if (Load(stream, NoStorage) is not BigInteger magic || magic != MagicNumber)
            throw Refused($" is a pickle, but not one of torch.save.");
        if (Load(stream, NoStorage) is not LegacyVersion)
            throw Refused($" is of another version of torch.save than {LegacyVersion}.");
        CheckLittleEndian(Load(stream, NoStorage) is PickledDict system && system.Items.GetValueOrDefault("little_endian") is true);
        var root = Load(stream, StorageOf);
        var keys = Load(stream, NoStorage) as List<object?>;
        if (keys is null || !keys.OfType<string>().ToHashSet().SetEquals(_storages.Keys) || keys.Count != _storages.Count)
            throw Refused($": the list of its storages is not that of those its tensors are of.");

        long at = stream.Position;
        var count = new byte[sizeof(long)];
        foreach (string key in keys.Cast<string>())
        {
            var storage = _storages[key];
            _file.Read(at, count);
            if (BinaryPrimitives.ReadInt64LittleEndian(count) is var stored && stored != storage.Count)
                throw Refused($": the storage '{key}' has {stored} elements, its tensors say {storage.Count}.");
            storage.Offset = at + sizeof(long);
            _file.Check(storage.Offset, storage.Bytes);
            at = storage.Offset + storage.Bytes;
        }
        if (at != _file.Length)
            throw Refused($" goes on after its last storage.");
        AddTensors(root);
    }

    private object? Load(Stream stream, Func<object?, object> persistent)
        => new Unpickler(stream, Name, _allowance, Global, persistent).Load();

    private object NoStorage(object? id) => throw Refused($" has a storage where none may be.");

    private void CheckLittleEndian(bool isLittle)
    {
        if (!isLittle)
            throw Refused(" was written on a big-endian machine, or does not say on which: such files are not read.");
    }

    /// <summary>What the classes and functions that a state dict is made of stand for; no others are known.</summary>
    private object Global(string module, string name) => $"{module}.{name}" switch
    {
        "collections.OrderedDict" => (Construct)OrderedDict,
        "torch._utils._rebuild_tensor_v2" => (Construct)RebuildTensor,
        "torch._utils._rebuild_parameter" => (Construct)(arguments => arguments is [View tensor, ..] ? tensor : throw Wrong("a parameter")),
        var storage when StorageTypes.TryGetValue(storage, out var type) => type,
        var beside when Beside.Contains(beside) => (Construct)(_ => new Opaque(beside)),
        var other => throw Refused($" asks for '{other}', which no state dict needs: it could run any program, and is not read. "
            + "If you trust the file, write its state dict as safetensors with PyTorch."),
    };

    private PickledDict OrderedDict(object?[] arguments)
    {
        // Python 2 gives the pairs as an argument.
        var dict = new PickledDict();
        _allowance.Take(256);
        if (arguments is not ([] or [List<object?>]))
            throw Wrong("an OrderedDict");
        foreach (object? pair in arguments is [List<object?> pairs] ? pairs : [])
        {
            _allowance.Take(80);
            if (pair is not IReadOnlyList<object?> { Count: 2 } parts || parts[0] is not string key || !dict.Items.TryAdd(key, parts[1]))
                throw Wrong("an OrderedDict");
        }
        return dict;
    }

    /// <summary>From the persistent id ('storage', type, key, device, count), in legacy files also which part of another it is.</summary>
    private Storage StorageOf(object? id)
    {
        if (id is not object?[] { Length: 5 or 6 } parts
            || parts is not ["storage", ScalarType type, string key, string, long count and >= 0, ..])
            throw Wrong("a storage");
        if (parts.Length == 6 && parts[5] is not null)
            throw Refused($": the storage '{key}' is a part of another: such files are not read.");
        if (!_storages.TryGetValue(key, out var storage))
        {
            _allowance.Take(256);
            if (TensorBytes.SizeOf(type, [count]) is not { } bytes || bytes > _file.Length)
                throw Refused($": the storage '{key}' of {count} elements of {type} is larger than the file.");
            _storages.Add(key, storage = new Storage(key, type, count, bytes));
        }
        return storage.Type == type && storage.Count == count ? storage
            : throw Refused($": the storage '{key}' has {storage.Count} elements of {storage.Type} and {count} of {type}.");
    }

    /// <summary>From (storage, offset, shape, strides, requires_grad, hooks), the storage's elements not more than once each.</summary>
    private View RebuildTensor(object?[] arguments)
    {
        if (arguments is not [Storage storage, long begin, object?[] sizes, object?[] steps, ..]
            || sizes.Length != steps.Length || sizes.Length > 64
            || !sizes.Concat(steps).Append(begin).All(number => number is >= 0L))
            throw Wrong("a tensor");
        _allowance.Take(256 + 32 * sizes.Length);
        long[] shape = [.. sizes.Cast<long>()], strides = [.. steps.Cast<long>()];
        Int128 span = shape.Contains(0) ? 0 : 1;
        foreach (var (size, stride) in shape.Zip(strides))
            span += shape.Contains(0) ? 0 : (Int128)(size - 1) * stride;
        long bytes = TensorBytes.SizeOf(storage.Type, shape) ?? long.MaxValue;
        string Described() => $": a tensor of shape [{string.Join(", ", shape)}] and strides [{string.Join(", ", strides)}]";
        if (begin + span > storage.Count)
            throw Refused($"{Described()} from element {begin} on goes past the {storage.Count} of the storage '{storage.Key}'.");
        if (bytes > span * TensorBytes.SizeOf(storage.Type))
            throw Refused($"{Described()} repeats elements of the storage '{storage.Key}': such a tensor is not read.");
        return new View("", storage.Type, shape, strides, storage, begin, (long)span);
    }

    private void AddTensors(object? root)
    {
        var dict = root as PickledDict ?? throw Refused($" is no dict of tensors but {Describe(root)}.");
        if (dict.Items.GetValueOrDefault("state_dict") is PickledDict inner)
            dict = inner;
        if (dict.HasOtherKeys)
            throw Refused($": the state dict has names that are no texts.");
        foreach (var (name, value) in dict.Items)
        {
            _allowance.Take(192);
            if (value is View tensor)
                _entries.Add(name, tensor with { Name = name });
            else if (value is not (null or bool or long or BigInteger or double or string))
            {
                throw Refused($": '{name}' is {Describe(value)} where a tensor is expected; a dict of others may hold its weights under "
                    + "'state_dict' only.");
            }
        }
        if (_entries.Count == 0)
            throw Refused($" holds no tensors, but {string.Join(", ", dict.Items.Keys.Take(20).Select(key => $"'{key}'"))}.");
    }

    private static string Describe(object? value) => value switch
    {
        PickledDict => "a dict",
        List<object?> => "a list or set",
        object?[] => "a tuple",
        Opaque opaque => opaque.What,
        View => "a tensor",
        Storage => "a storage",
        Construct or ScalarType => "a class or function",
        _ => "a number or text",
    };

    private InvalidDataException Wrong(string what) => Refused($" has {what} made of other parts than torch.save writes.");

    private InvalidDataException Refused(string why) => new(Name + why);

    /// <summary>Elements of one type in a row, which one or more tensors are views of.</summary>
    private sealed record Storage(string Key, ScalarType Type, long Count, long Bytes)
    {
        /// <summary>The first one's byte in the file.</summary>
        public long Offset { get; set; }
    }

    /// <summary>A view of a storage from its element <see cref="Begin"/> on.</summary>
    private sealed record View(string Name, ScalarType Type, long[] Shape, long[] Strides, Storage Storage, long Begin, long Span)
        : WeightEntry(Name, Type, Shape)
    {
        public bool IsContiguous
        {
            get
            {
                long expected = 1;
                for (int i = Shape.Length - 1; i >= 0; i--)
                {
                    if (Shape[i] != 1 && Strides[i] != expected)
                        return Span == 0;
                    expected *= Shape[i];
                }
                return true;
            }
        }
    }
}
