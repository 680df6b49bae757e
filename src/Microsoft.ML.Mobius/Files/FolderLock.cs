namespace Microsoft.ML.Mobius.Files;

/// <summary>
/// Keeps a folder to one process, and to one run in it, until this is disposed or the process ends, however it does: the lock is the operating system's, on the file
/// .lock, which stays.
/// </summary>
internal sealed class FolderLock : IDisposable
{
    private const string Name = ".lock";

    private readonly FileStream _file;

    /// <param name="folder">Made if it is missing.</param>
    /// <param name="role">What it is, as "The folder of checkpoints", for the message.</param>
    /// <exception cref="InvalidOperationException">Another run has it.</exception>
    /// <exception cref="IOException">It cannot be made or written to.</exception>
    public FolderLock(string folder, string role)
    {
        WritableFolder.Make(folder, role);
        try
        {
            _file = new FileStream(Path.Combine(folder, Name), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException e)
        {
            throw new InvalidOperationException($"{role} '{folder}' is in use by another run: wait for its end, or name another folder. ({e.Message})", e);
        }
    }

    public void Dispose() => _file.Dispose();
}
