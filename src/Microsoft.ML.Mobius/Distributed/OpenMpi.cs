using System.Runtime.InteropServices;

namespace Microsoft.ML.Mobius.Distributed;

/// <summary>
/// The calls of Open MPI 4's C interface that are used here. Communicators, types and operations are addresses of the library's global variables.
/// </summary>
/// <remarks>
/// Collective calls are those that do not wait, so that whoever waits can see to it that all others are there. Whatever goes wrong inside Open MPI ends the whole job there,
/// with a message: that is its default, and no call's result need be looked at.
/// </remarks>
internal static partial class OpenMpi
{
    public const int AnySource = -1, Serialized = 2;
    private const string Library = "libmpi.so.40";

    /// <summary>In place of what is sent: the buffer of what is received has it.</summary>
    public const nint InPlace = 1;

    public static nint World { get; private set; }

    public static nint Bytes { get; private set; }

    public static nint Floats { get; private set; }

    public static nint Doubles { get; private set; }

    public static nint Sum { get; private set; }

    /// <summary>What a request is once it is done.</summary>
    public static nint NoRequest { get; private set; }

    /// <summary>Finds the library.</summary>
    /// <exception cref="InvalidOperationException">It is not there, or is no Open MPI 4.</exception>
    public static void Load()
    {
        try
        {
            nint library = NativeLibrary.Load(Library);
            nint Global(string name) => NativeLibrary.GetExport(library, name);
            (World, NoRequest, Sum) = (Global("ompi_mpi_comm_world"), Global("ompi_request_null"), Global("ompi_mpi_op_sum"));
            (Bytes, Floats, Doubles) = (Global("ompi_mpi_byte"), Global("ompi_mpi_float"), Global("ompi_mpi_double"));
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException or BadImageFormatException)
        {
            throw new InvalidOperationException($"This process was started by mpirun, but Open MPI's {Library} cannot be used: {e.Message} "
                + "Install it (Debian and Ubuntu: apt-get install openmpi-bin), or start without mpirun.", e);
        }
    }

    [LibraryImport(Library, EntryPoint = "MPI_Init_thread")]
    public static partial int Init(nint argc, nint argv, int required, out int provided);

    [LibraryImport(Library, EntryPoint = "MPI_Finalize")]
    public static partial int End();

    [LibraryImport(Library, EntryPoint = "MPI_Abort")]
    public static partial int Abort(nint communicator, int exitCode);

    [LibraryImport(Library, EntryPoint = "MPI_Comm_rank")]
    public static partial int Rank(nint communicator, out int rank);

    [LibraryImport(Library, EntryPoint = "MPI_Comm_size")]
    public static partial int Size(nint communicator, out int size);

    [LibraryImport(Library, EntryPoint = "MPI_Test")]
    public static partial int Test(ref nint request, out int isDone, nint noStatus);

    [LibraryImport(Library, EntryPoint = "MPI_Ibarrier")]
    public static partial int Barrier(nint communicator, out nint request);

    [LibraryImport(Library, EntryPoint = "MPI_Ibcast")]
    public static partial int Broadcast(nint buffer, int count, nint type, int root, nint communicator, out nint request);

    [LibraryImport(Library, EntryPoint = "MPI_Iallreduce")]
    public static partial int AllReduce(nint send, nint receive, int count, nint type, nint operation, nint communicator, out nint request);

    [LibraryImport(Library, EntryPoint = "MPI_Iallgather")]
    public static partial int AllGather(
        nint send, int sendCount, nint sendType, nint receive, int receiveCount, nint receiveType, nint communicator, out nint request);

    [LibraryImport(Library, EntryPoint = "MPI_Isend")]
    public static partial int Send(nint buffer, int count, nint type, int to, int tag, nint communicator, out nint request);

    [LibraryImport(Library, EntryPoint = "MPI_Request_free")]
    public static partial int Forget(ref nint request);

    [LibraryImport(Library, EntryPoint = "MPI_Iprobe")]
    public static partial int Probe(int source, int tag, nint communicator, out int isThere, out Status status);

    [LibraryImport(Library, EntryPoint = "MPI_Recv")]
    public static partial int Receive(nint buffer, int count, nint type, int source, int tag, nint communicator, nint noStatus);

    /// <summary>MPI_Status, of which the first two fields are read.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Status
    {
        public int Source, Tag, Error, Cancelled;
        public nuint Count;
    }
}
