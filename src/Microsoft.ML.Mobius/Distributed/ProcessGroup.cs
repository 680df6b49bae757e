using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Distributed;

/// <summary>
/// The processes that mpirun started together, its ranks, of which this is one; or this process alone, and then nothing of MPI is loaded, and whatever all do together is
/// done by one. All ranks must call the same methods in the same order, but those that say otherwise.
/// </summary>
/// <remarks>
/// Who waits for others longer than <see cref="TimeoutVariable"/> says asks all of them whether they wait as well, and ends the job with a message that names those who do
/// not answer. May be used by several threads.
/// </remarks>
internal sealed unsafe class ProcessGroup
{
    /// <summary>The environment variable of the seconds that a rank waits for the others before it ends the job.</summary>
    public const string TimeoutVariable = "MOBIUS_RANK_TIMEOUT";

    private const double UsualTimeout = 600, TimeToAnswer = 5;
    private const int StillWorking = 1, AreYouWaiting = 2, IAmWaiting = 3;               // tags of messages without content
    private const int MostAtOnce = 1 << 30;

    private static readonly Lazy<ProcessGroup> s_current = new(Join);

    private readonly Lock _gate = new();                                                  // Open MPI is told that threads take turns
    private readonly TimeSpan _timeout;
    private readonly Stopwatch _sinceTold = Stopwatch.StartNew();

    private ProcessGroup(int rank = 0, int size = 1, int localRank = 0, double timeout = UsualTimeout)
        => (Rank, Size, LocalRank, _timeout) = (rank, size, localRank, TimeSpan.FromSeconds(timeout));

    /// <summary>The group that this process was started in; joined when it is asked for first.</summary>
    /// <exception cref="InvalidOperationException">mpirun started this process, but Open MPI cannot be used, or the timeout is no number of seconds.</exception>
    public static ProcessGroup Current => s_current.Value;

    /// <summary>This process alone, whoever started it.</summary>
    public static ProcessGroup Alone { get; } = new();

    /// <summary>Whether there are no other ranks, known without joining them.</summary>
    public static bool IsStartedAlone => Number("OMPI_COMM_WORLD_SIZE") is not > 1;

    /// <summary>Whether this will be rank 0, known without joining the others.</summary>
    public static bool IsStartedFirst => IsStartedAlone || Number("OMPI_COMM_WORLD_RANK") is null or 0;

    /// <summary>Which of the processes this is, from 0. Rank 0 writes files and shows progress.</summary>
    public int Rank { get; }

    public int Size { get; }

    /// <summary>Which of those on this machine.</summary>
    public int LocalRank { get; }

    public bool IsFirst => Rank == 0;

    public bool IsAlone => Size == 1;

    public override string ToString() => $"Rank {Rank} of {Size} ({Environment.MachineName})";

    /// <summary>Waits till all ranks are here.</summary>
    public void Barrier()
    {
        if (IsAlone)
            return;
        nint request;
        lock (_gate)
            OpenMpi.Barrier(OpenMpi.World, out request);
        Finish(ref request);
    }

    /// <summary>Gives all ranks the bytes that one has; the others' must be as many.</summary>
    public void Broadcast(Span<byte> bytes, int from = 0)
    {
        fixed (byte* start = bytes)
            for (int at = 0; !IsAlone && at < bytes.Length; at += MostAtOnce)
            {
                nint request;
                lock (_gate)
                    OpenMpi.Broadcast((nint)(start + at), Math.Min(MostAtOnce, bytes.Length - at), OpenMpi.Bytes, from, OpenMpi.World, out request);
                Finish(ref request);
            }
    }

    /// <summary>Gives all ranks what one has; what others bring along is not used.</summary>
    public byte[] Broadcast(byte[]? bytes, int from = 0)
    {
        if (IsAlone)
            return bytes!;
        Span<int> length = [Rank == from ? bytes!.Length : 0];
        Broadcast(MemoryMarshal.AsBytes(length), from);
        var all = Rank == from ? bytes! : new byte[length[0]];
        Broadcast(all.AsSpan(), from);
        return all;
    }

    /// <inheritdoc cref="Broadcast(byte[], int)"/>
    public string Broadcast(string text, int from = 0) => IsAlone ? text : Encoding.UTF8.GetString(Broadcast(Encoding.UTF8.GetBytes(text), from));

    /// <summary>Gives all ranks the numbers of rank 0's tensor, of any device, in place.</summary>
    public void Broadcast(Tensor tensor)
    {
        if (IsAlone)
            return;
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var here = tensor.detach().cpu().contiguous();
        Broadcast(here.bytes);
        if (!IsFirst)
            tensor.copy_(here);
    }

    /// <summary>A number of each rank, in their order.</summary>
    public double[] Gather(double number)
    {
        double[] all = new double[Size];
        all[Rank] = number;
        if (IsAlone)
            return all;
        fixed (double* start = all)
        {
            nint request;
            lock (_gate)
                OpenMpi.AllGather(OpenMpi.InPlace, 0, OpenMpi.Doubles, (nint)start, 1, OpenMpi.Doubles, OpenMpi.World, out request);
            Finish(ref request);
        }
        return all;
    }

    /// <summary>Whether it is so on any rank.</summary>
    public bool Any(bool here) => IsAlone ? here : Gather(here ? 1 : 0).Contains(1);

    /// <summary>Begins to sum over all ranks. Both tensors are contiguous float32 on the CPU, and must live, and not be touched, till the request is finished.</summary>
    /// <remarks>Not in place: then Open MPI sends all to one rank and back, where otherwise each rank sums a part.</remarks>
    /// <param name="own">What this rank brings.</param>
    /// <param name="sum">As long, for the sum.</param>
    /// <returns>The request, for <see cref="IsDone"/> and <see cref="Finish"/>.</returns>
    public nint BeginSum(Tensor own, Tensor sum)
    {
        fixed (byte* from = own.bytes, to = sum.bytes)                                    // libtorch's memory: it stays where it is
            lock (_gate)
            {
                OpenMpi.AllReduce((nint)from, (nint)to, checked((int)own.numel()), OpenMpi.Floats, OpenMpi.Sum, OpenMpi.World, out nint request);
                return request;
            }
    }

    /// <summary>Whether a request is finished. Open MPI works on all requests while it is asked, and only then. No other rank need call this.</summary>
    public bool IsDone(ref nint request)
    {
        lock (_gate)
        {
            if (request != OpenMpi.NoRequest)
                OpenMpi.Test(ref request, out _, 0);
            return request == OpenMpi.NoRequest;
        }
    }

    /// <summary>Waits till a request is finished.</summary>
    public void Finish(ref nint request)
    {
        var waited = Stopwatch.StartNew();
        var sinceHeard = Stopwatch.StartNew();
        while (!IsDone(ref request))
        {
            if (Listen(out int tag) >= 0 && tag == StillWorking)
                sinceHeard.Restart();
            if (sinceHeard.Elapsed > _timeout)
                Accuse(ref request);
            if (waited.Elapsed.TotalSeconds < 1)
                Thread.Yield();
            else
                Thread.Sleep(1);
        }
    }

    /// <summary>Tells the others, from time to time, that this rank is at work alone, so that they go on waiting. No other rank need call this.</summary>
    public void Tell()
    {
        if (IsAlone || _sinceTold.Elapsed < _timeout / 4)
            return;
        _sinceTold.Restart();
        SendToOthers(StillWorking);
    }

    /// <summary>Does what may fail on one rank while others wait for it: then the job is ended, with a message that names the rank and the cause.</summary>
    public T Guard<T>(Func<T> work)
    {
        if (IsAlone)
            return work();
        try
        {
            return work();
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            Abort(e.Message.ReplaceLineEndings(" "));
            throw;
        }
    }

    /// <summary>Shares out what can be made piece by piece: the ranks take the pieces in turn. All get all, in order.</summary>
    /// <param name="pieces">Each makes its piece; they are looked at as many at a time as there are ranks, and the same on all ranks.</param>
    /// <param name="write">A piece as bytes, for the other ranks.</param>
    /// <param name="read">The piece of another rank.</param>
    public IEnumerable<T> InTurn<T>(IEnumerable<Func<T>> pieces, Func<T, byte[]> write, Func<byte[], T> read)
    {
        foreach (var round in pieces.Chunk(Size))
        {
            var own = Rank < round.Length ? Guard(round[Rank]) : default;
            for (int from = 0; from < round.Length; from++)
                yield return Rank != from ? read(Broadcast((byte[]?)null, from)) : Shared(own!, write);
        }
    }

    private T Shared<T>(T piece, Func<T, byte[]> write)
    {
        if (!IsAlone)
            Broadcast(write(piece), Rank);
        return piece;
    }

    /// <summary>Ends the job if ranks have a problem: the first of them throws, and the others wait for the end.</summary>
    /// <param name="problem">Null if there is none here.</param>
    /// <exception cref="InvalidOperationException">There is one here.</exception>
    public void Agree(string? problem)
    {
        int first = Array.IndexOf(Gather(problem is null ? 0 : 1), 1);
        if (first == Rank)
            throw new InvalidOperationException(problem);
        if (first >= 0)
            Thread.Sleep(_timeout);
    }

    /// <summary>For errors that all ranks meet at once: rank 0 alone returns, to tell of it; the others wait for the end.</summary>
    public void LeaveToFirst()
    {
        if (!IsFirst)
            Thread.Sleep(_timeout);
    }

    /// <summary>Ends all processes of the job. No other rank need call this.</summary>
    public void Abort(string cause, int exitCode = 1)
    {
        Console.Error.WriteLine($"{this}: {cause}");
        Console.Error.Flush();
        OpenMpi.Abort(OpenMpi.World, exitCode);
    }

    private static ProcessGroup Join()
    {
        if (IsStartedAlone)
            return Alone;
        string? limit = Environment.GetEnvironmentVariable(TimeoutVariable);
        double timeout = UsualTimeout;
        if (limit is not null && !(double.TryParse(limit, CultureInfo.InvariantCulture, out timeout) && timeout is > 0 and < 1e6))
            throw new InvalidOperationException($"{TimeoutVariable} is '{limit}': expected is a number of seconds above 0.");
        OpenMpi.Load();
        OpenMpi.Init(0, 0, OpenMpi.Serialized, out int threads);
        if (threads < OpenMpi.Serialized)
            throw new InvalidOperationException("Open MPI was built without threads.");
        OpenMpi.Rank(OpenMpi.World, out int rank);
        OpenMpi.Size(OpenMpi.World, out int size);
        var group = new ProcessGroup(rank, size, Number("OMPI_COMM_WORLD_LOCAL_RANK") ?? 0, timeout);
        AppDomain.CurrentDomain.ProcessExit += (_, _) => group.Leave();
        return group;
    }

    private static int? Number(string variable) => int.TryParse(Environment.GetEnvironmentVariable(variable), out int number) ? number : null;

    /// <summary>A process that failed does not wait for the others, who may wait for it.</summary>
    private void Leave()
    {
        if (Environment.ExitCode != 0)
            Abort($"Ended with exit code {Environment.ExitCode}.", Environment.ExitCode);
        lock (_gate)
            OpenMpi.End();
    }

    private void SendToOthers(int tag)
    {
        for (int rank = 0; rank < Size; rank++)
            if (rank != Rank)
                Send(rank, tag);
    }

    private void Send(int to, int tag)
    {
        lock (_gate)
        {
            OpenMpi.Send(0, 0, OpenMpi.Bytes, to, tag, OpenMpi.World, out nint request);
            OpenMpi.Forget(ref request);
        }
    }

    /// <summary>Takes a message, if there is one, and answers it; gives its sender, or -1.</summary>
    private int Listen(out int tag)
    {
        lock (_gate)
        {
            OpenMpi.Probe(OpenMpi.AnySource, OpenMpi.AnySource, OpenMpi.World, out int isThere, out var status);
            tag = status.Tag;
            if (isThere == 0)
                return -1;
            OpenMpi.Receive(0, 0, OpenMpi.Bytes, status.Source, status.Tag, OpenMpi.World, 0);
            if (status.Tag == AreYouWaiting)
                Send(status.Source, IAmWaiting);
            return status.Source;
        }
    }

    /// <summary>Ends the job, unless the request is finished after all. Of the ranks that wait the first tells why.</summary>
    private void Accuse(ref nint request)
    {
        var waiting = new SortedSet<int> { Rank };
        SendToOthers(AreYouWaiting);
        for (var clock = Stopwatch.StartNew(); clock.Elapsed.TotalSeconds < TimeToAnswer; Thread.Sleep(1))
        {
            if (IsDone(ref request))
                return;
            while (Listen(out int tag) is >= 0 and var from)
                if (tag is AreYouWaiting or IAmWaiting)
                    waiting.Add(from);
        }
        if (waiting.Min < Rank)
            Thread.Sleep(TimeSpan.FromSeconds(2 * TimeToAnswer));
        string[] silent = [.. Enumerable.Range(0, Size).Except(waiting).Select(rank => $"{rank}")];
        Abort(silent.Length == 0 ? "All ranks wait, but not for the same thing: the program does not do the same on all of them."
            : string.Create(CultureInfo.InvariantCulture, $"Rank {string.Join(", ", silent)} has not been heard of for {_timeout.TotalSeconds} s: it has stopped, ")
                + $"hangs or cannot be reached. The time is set by {TimeoutVariable}.");
    }
}
