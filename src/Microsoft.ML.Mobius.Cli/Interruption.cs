namespace Microsoft.ML.Mobius.Cli;

/// <summary>The wish, from outside, that a command end where it is safe to.</summary>
internal sealed class Interruption : IDisposable
{
    /// <summary>Exit codes: 128 and the number of the signal.</summary>
    public const int Interrupted = 130, Terminated = 143;

    private readonly CancellationTokenSource _source = new();

    public CancellationToken Token => _source.Token;

    /// <summary>What the command is to end with.</summary>
    public int ExitCode { get; private set; } = Interrupted;

    public void Request(int exitCode)
    {
        ExitCode = exitCode;
        _source.Cancel();
    }

    public void Dispose() => _source.Dispose();
}
