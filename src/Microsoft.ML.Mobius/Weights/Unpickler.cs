using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using System.Text.Unicode;

namespace Microsoft.ML.Mobius.Weights;

/// <summary>A dict of Python with the entries whose keys are texts, in their order.</summary>
internal sealed class PickledDict
{
    public OrderedDictionary<string, object?> Items { get; } = [];

    /// <summary>Whether it has keys that are no texts; their values are not kept.</summary>
    public bool HasOtherKeys { get; set; }
}

/// <summary>A value that is read over and cannot be used: bytes, or something that a checkpoint holds beside its weights.</summary>
internal sealed record Opaque(string What);

/// <summary>What a class or function of Python stands for here: a function of ours from its arguments.</summary>
internal delegate object? Construct(object?[] arguments);

/// <summary>
/// Reads a pickle as data: containers, numbers and texts, and of classes and functions only those that the caller knows, by functions of
/// its own. Nothing that the file names is ever looked up or run.
/// </summary>
/// <remarks>
/// The opcodes are those that protocols 2 to 5 write of such values; see Lib/pickletools.py of CPython. Values are: null, bool, long,
/// <see cref="BigInteger"/>, double, string, <c>object?[]</c> (tuple), <c>List&lt;object?&gt;</c> (list, set), <see cref="PickledDict"/>,
/// <see cref="Opaque"/>, and what the caller's functions give. Time and memory are linear in the bytes read.
/// </remarks>
/// <param name="stream">Seekable; read from its present position to the end of the pickle.</param>
/// <param name="what">The file's name, for messages.</param>
/// <param name="allowance">The memory that the values may take.</param>
/// <param name="global">What a class or function stands for: a <see cref="Construct"/> or a value; throws if it is not known.</param>
/// <param name="persistent">What a persistent id stands for.</param>
internal sealed class Unpickler(
    Stream stream, string what, Allowance allowance, Func<string, string, object> global, Func<object?, object> persistent)
{
    private const int MaxGlobalLength = 256;

    private readonly List<object?> _stack = [];
    private readonly List<int> _marks = [];
    private readonly List<object?> _memo = [];
    private readonly long _start = stream.Position;
    private readonly byte[] _next = new byte[8];
    private int _deepest;

    /// <summary>The pickled value; the stream then stands behind it.</summary>
    /// <exception cref="InvalidDataException">It is no correct pickle, or one of something else.</exception>
    public object? Load()
    {
        while (true)
        {
            int opcode = Byte();
            if (opcode == '.')      // STOP
                return Pop();
            Execute(opcode);
        }
    }

    private void Execute(int opcode)
    {
        switch (opcode)
        {
            case 0x80: Protocol(Byte()); break;                                             // PROTO
            case 0x95: Next(8); break;                                                      // FRAME
            case '(': Mark(); break;                                                        // MARK
            case '0': Pop(); break;                                                         // POP
            case '1': PopMark(); break;                                                     // POP_MARK
            case '2': Push(Top()); break;                                                   // DUP

            case 'N': Push(null); break;                                                    // NONE
            case 0x88: Push(true); break;                                                   // NEWTRUE
            case 0x89: Push(false); break;                                                  // NEWFALSE
            case 'J': Push((long)BinaryPrimitives.ReadInt32LittleEndian(Next(4))); break;  // BININT
            case 'K': Push((long)Byte()); break;                                            // BININT1
            case 'M': Push((long)BinaryPrimitives.ReadUInt16LittleEndian(Next(2))); break; // BININT2
            case 0x8a: Push(Long(Byte())); break;                                           // LONG1
            case 'G': Push(BinaryPrimitives.ReadDoubleBigEndian(Next(8))); break;          // BINFLOAT

            case 'X' or 'T': Push(Text(BinaryPrimitives.ReadUInt32LittleEndian(Next(4)))); break;  // BINUNICODE, BINSTRING
            case 0x8c or 'U': Push(Text((uint)Byte())); break;                              // SHORT_BINUNICODE, SHORT_BINSTRING
            case 0x8d: Push(Text(BinaryPrimitives.ReadUInt64LittleEndian(Next(8)))); break;        // BINUNICODE8
            case 'C': Push(Skip((uint)Byte())); break;                                      // SHORT_BINBYTES
            case 'B': Push(Skip(BinaryPrimitives.ReadUInt32LittleEndian(Next(4)))); break; // BINBYTES
            case 0x8e: Push(Skip(BinaryPrimitives.ReadUInt64LittleEndian(Next(8)))); break;        // BINBYTES8

            case ')': Push(Array.Empty<object?>()); break;                                  // EMPTY_TUPLE
            case 't': Push(PopMark()); break;                                               // TUPLE
            case 0x85 or 0x86 or 0x87: Push(PopLast(opcode - 0x84)); break;                 // TUPLE1, TUPLE2, TUPLE3
            case ']' or 0x8f: Push(NewList()); break;                                       // EMPTY_LIST, EMPTY_SET
            case 'a': AddTo([Pop()]); break;                                                // APPEND
            case 'e' or 0x90: AddTo(PopMark()); break;                                      // APPENDS, ADDITEMS
            case '}': Push(NewDict()); break;                                               // EMPTY_DICT
            case 's': SetIn(PopLast(2)); break;                                             // SETITEM
            case 'u': SetIn(PopMark()); break;                                              // SETITEMS

            case 'q': Memoize(Byte()); break;                                               // BINPUT
            case 'r': Memoize(BinaryPrimitives.ReadUInt32LittleEndian(Next(4))); break;    // LONG_BINPUT
            case 0x94: Memoize(_memo.Count); break;                                         // MEMOIZE
            case 'h': Push(Memoized(Byte())); break;                                        // BINGET
            case 'j': Push(Memoized(BinaryPrimitives.ReadUInt32LittleEndian(Next(4)))); break;     // LONG_BINGET

            case 'c': Push(global(Line(), Line())); break;                                  // GLOBAL
            case 0x93:                                                                      // STACK_GLOBAL
                var (name, module) = (Pop<string>("a name"), Pop<string>("a module's name"));
                Push(global(module, name));
                break;
            case 'R' or 0x81:                                                               // REDUCE, NEWOBJ
                var arguments = Pop<object?[]>("a tuple of arguments");
                Push(Pop<Construct>("a function")(arguments));
                break;
            case 'b': Build(); break;                                                       // BUILD
            case 'Q': Push(persistent(Pop())); break;                                       // BINPERSID
            default: throw Broken($"the opcode 0x{opcode:x2} is none of those that torch.save writes of tensors");
        }
    }

    private void Protocol(int version)
    {
        if (version is < 2 or > 5)
            throw Broken($"protocol {version} is not one from 2 to 5");
    }

    private object Long(int length)
    {
        if (length > 8)
        {
            allowance.Take(2 * length);
            return new BigInteger(Bytes(length));
        }
        long value = 0;
        var bytes = Next(length);
        for (int i = length - 1; i >= 0; i--)
            value = value << 8 | bytes[i];
        int unused = 64 - 8 * length;
        return length == 0 ? 0L : value << unused >> unused;
    }

    private string Text(ulong length)
    {
        if (length > (ulong)Left)
            throw CutOff();
        allowance.Take(2 * (long)length + 32);
        var bytes = Bytes((long)length);
        return Utf8.IsValid(bytes) ? Encoding.UTF8.GetString(bytes) : throw Broken("a text is not correct UTF-8");
    }

    private string Line()
    {
        Span<byte> line = stackalloc byte[MaxGlobalLength];
        int length = 0;
        for (int next = Byte(); next != '\n'; next = Byte())
        {
            if (length == MaxGlobalLength || next is < ' ' or > '~')
                throw Broken($"the name of a class or function is not one of at most {MaxGlobalLength} letters");
            line[length++] = (byte)next;
        }
        allowance.Take(2 * length + 32);
        return Encoding.ASCII.GetString(line[..length]);
    }

    private Opaque Skip(ulong length)
    {
        if (length > (ulong)Left)
            throw CutOff();
        stream.Position += (long)length;
        return new Opaque("bytes");
    }

    private List<object?> NewList()
    {
        allowance.Take(64);
        return [];
    }

    private PickledDict NewDict()
    {
        allowance.Take(256);
        return new PickledDict();
    }

    private void AddTo(object?[] items)
    {
        if (Top() is not List<object?> list)
            throw Broken("something is added to what is no list");
        allowance.Take(16 * items.Length);
        list.AddRange(items);
    }

    private void SetIn(object?[] items)
    {
        if (Top() is not PickledDict dict || items.Length % 2 != 0)
            throw Broken("names and values are set in what is no dict, or not in pairs");
        for (int i = 0; i < items.Length; i += 2)
        {
            allowance.Take(80);
            if (items[i] is not string key)
                dict.HasOtherKeys = true;
            else if (!dict.Items.TryAdd(key, items[i + 1]))
                throw new InvalidDataException($"{what} lists '{key}' twice.");
        }
    }

    private void Build()
    {
        // Attributes, as the _metadata of a module's state dict: not a part of the weights.
        Pop();
        if (Top() is not (PickledDict or Opaque))
            throw Broken("attributes are set of what has none");
    }

    private void Memoize(long index)
    {
        // Each is put once and in order: an index past the bytes read so far cannot be.
        if (index > stream.Position - _start)
            throw Broken($"the memo has no place {index} yet");
        var value = Top();
        while (_memo.Count <= index)
        {
            allowance.Take(24);
            _memo.Add(null);
        }
        _memo[(int)index] = value;
    }

    private object? Memoized(long index) => index < _memo.Count ? _memo[(int)index] : throw Broken($"the memo has no place {index} yet");

    private void Mark()
    {
        allowance.Take(12);
        _marks.Add(_stack.Count);
    }

    private void Push(object? value)
    {
        // A boxed number, and the place on the stack.
        allowance.Take(value is long or double or bool or Opaque ? 32 : 0);
        _stack.Add(value);
        if (_stack.Count > _deepest)
        {
            _deepest = _stack.Count;
            allowance.Take(24);
        }
    }

    private object? Top() => _stack.Count > Floor ? _stack[^1] : throw Broken("a value is missing");

    private object? Pop()
    {
        var value = Top();
        _stack.RemoveAt(_stack.Count - 1);
        return value;
    }

    private T Pop<T>(string expected) => Pop() is T value ? value : throw Broken($"{expected} is missing");

    private object?[] PopLast(int count)
    {
        if (_stack.Count - Floor < count)
            throw Broken("a value is missing");
        allowance.Take(32 + 8 * count);
        var values = new object?[count];
        _stack.CopyTo(_stack.Count - count, values, 0, count);
        _stack.RemoveRange(_stack.Count - count, count);
        return values;
    }

    private object?[] PopMark()
    {
        if (_marks.Count == 0)
            throw Broken("a mark is missing");
        var values = PopLast(_stack.Count - Floor);
        _marks.RemoveAt(_marks.Count - 1);
        return values;
    }

    /// <summary>What lies under the last mark is out of reach until it is taken away.</summary>
    private int Floor => _marks.Count == 0 ? 0 : _marks[^1];

    private long Left => stream.Length - stream.Position;

    private int Byte() => stream.ReadByte() is >= 0 and var value ? value : throw CutOff();

    /// <summary>The next bytes, at most 8, until the next call.</summary>
    private ReadOnlySpan<byte> Next(int length)
    {
        if (length > Left)
            throw CutOff();
        stream.ReadExactly(_next, 0, length);
        return _next.AsSpan(0, length);
    }

    private byte[] Bytes(long length)
    {
        if (length > Left)
            throw CutOff();
        allowance.Take(length);
        var bytes = new byte[length];
        stream.ReadExactly(bytes);
        return bytes;
    }

    private InvalidDataException CutOff() => new($"{what} was cut off within its pickle.");

    private InvalidDataException Broken(string why)
        => new($"{what} has no correct pickle of weights: {why}, at byte {stream.Position - _start}.");
}
