using System.Runtime.InteropServices;
using Microsoft.ML.Mobius.Cli;
using Microsoft.ML.Mobius.Distributed;

using var interruption = new Interruption();
using var ctrlC = On(PosixSignal.SIGINT, Interruption.Interrupted);
using var terminate = On(PosixSignal.SIGTERM, Interruption.Terminated);
return new MobiusCommand(ProcessGroup.IsStartedFirst ? Console.Out : TextWriter.Null, Console.Error, interruption).Run(args);

PosixSignalRegistration On(PosixSignal signal, int exitCode) => PosixSignalRegistration.Create(signal, context =>
{
    context.Cancel = true;      // ends where it is safe to
    interruption.Request(exitCode);
});
