using System.Globalization;
using Microsoft.ML.Mobius.Distributed;
using Microsoft.ML.Runtime;

namespace Microsoft.ML.Mobius;

/// <summary>
/// A channel that also keeps what it is told in a file: a line each, with the time. Of several ranks, rank 0 alone speaks; each of the others keeps a file of its own, as
/// training.rank-1.log beside training.log, so that what all of them have to say is said once and yet nothing is lost.
/// </summary>
internal sealed class LoggedChannel : IChannel
{
    private readonly IChannel _channel;
    private readonly StreamWriter? _file;
    private readonly ProcessGroup _group;

    /// <param name="channel">Disposed with this object.</param>
    /// <param name="path">The file, which is added to; its folder is made if it is missing. Null keeps nothing.</param>
    /// <param name="group">The ranks.</param>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public LoggedChannel(IChannel channel, string? path, ProcessGroup group)
    {
        (_channel, _group) = (channel, group);
        if (path is null)
            return;
        if (!group.IsFirst)
            path = Path.ChangeExtension(path, FormattableString.Invariant($".rank-{group.Rank}{Path.GetExtension(path)}"));
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
            _file = new StreamWriter(new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.ReadWrite)) { AutoFlush = true };
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            channel.Dispose();
            throw new IOException($"The log file '{path}' cannot be written: {e.Message}", e);
        }
    }

    public string ContextDescription => _channel.ContextDescription;

    /// <summary>Keeps why the work ended early; whoever called hears of it by the exception.</summary>
    public void KeepEnd(Exception e) => Keep(e is OperationCanceledException ? "Ended on request." : $"Failed: {e.Message}");

    public TException Process<TException>(TException ex) where TException : Exception => _channel.Process(ex);

    public void Send(ChannelMessage msg)
    {
        if (_group.IsFirst)
            _channel.Send(msg);
        Keep(msg.Kind is ChannelMessageKind.Info or ChannelMessageKind.Trace ? msg.Message : $"{msg.Kind}: {msg.Message}");
    }

    public void Trace(MessageSensitivity sensitivity, string fmt) => _channel.Trace(sensitivity, fmt);

    public void Trace(MessageSensitivity sensitivity, string fmt, params object[] args) => _channel.Trace(sensitivity, fmt, args);

    public void Error(MessageSensitivity sensitivity, string fmt)
    {
        if (_group.IsFirst)
            _channel.Error(sensitivity, fmt);
        Keep($"Error: {fmt}");
    }

    public void Error(MessageSensitivity sensitivity, string fmt, params object[] args) => Error(sensitivity, Filled(fmt, args));

    public void Warning(MessageSensitivity sensitivity, string fmt)
    {
        if (_group.IsFirst)
            _channel.Warning(sensitivity, fmt);
        Keep($"Warning: {fmt}");
    }

    public void Warning(MessageSensitivity sensitivity, string fmt, params object[] args) => Warning(sensitivity, Filled(fmt, args));

    public void Info(MessageSensitivity sensitivity, string fmt)
    {
        if (_group.IsFirst)
            _channel.Info(sensitivity, fmt);
        Keep(fmt);
    }

    public void Info(MessageSensitivity sensitivity, string fmt, params object[] args) => Info(sensitivity, Filled(fmt, args));

    public void Dispose()
    {
        _file?.Dispose();
        _channel.Dispose();
    }

    private static string Filled(string fmt, object[] args) => string.Format(CultureInfo.InvariantCulture, fmt, args);

    private void Keep(string line) => _file?.WriteLine(FormattableString.Invariant($"{DateTime.UtcNow:yyyy-MM-dd HH:mm:ss.f}Z {(_group.IsAlone ? "" : $"rank {_group.Rank}: ")}{line}"));
}
