using System.Runtime.InteropServices;
using Microsoft.ML.Mobius.Benchmarks;

const int failed = 1, interrupted = 130, terminated = 143;     // 128 and the number of the signal
using var interrupt = new CancellationTokenSource();
int exitCode = failed;
Machine.Watch();
bool measures = args is [OwnProcess.Command or QualityBench.Command or ScalingBench.Command, ..];              // then a signal ends it at once, as any program
using var ctrlC = measures ? null : End(PosixSignal.SIGINT, interrupted);
using var terminate = measures ? null : End(PosixSignal.SIGTERM, terminated);

try
{
    return BenchCommandLine.Run(args, interrupt.Token);
}
catch (OperationCanceledException) when (interrupt.IsCancellationRequested)
{
    Console.Error.WriteLine(exitCode == terminated ? "Terminated." : "Interrupted.");
    return exitCode;
}
catch (Exception e) when (!measures)
{
    Console.Error.WriteLine($"Failed: {e.Message.ReplaceLineEndings(" ")}");
    return failed;
}

PosixSignalRegistration End(PosixSignal signal, int code) => PosixSignalRegistration.Create(signal, context =>
{
    context.Cancel = true;      // ends once the process that measures has ended
    exitCode = code;
    interrupt.Cancel();
});
