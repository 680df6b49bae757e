using System.Reflection;
using System.Runtime.InteropServices;
using Microsoft.ML.Mobius.Samples.MainJob;

const int failed = 1, interrupted = 130, terminated = 143;     // 128 and the number of the signal
string endOfProgress = Console.IsOutputRedirected ? "" : "\n";
using var interrupt = new CancellationTokenSource();
int exitCode = failed;
using var ctrlC = End(PosixSignal.SIGINT, interrupted);
using var terminate = End(PosixSignal.SIGTERM, terminated);

try
{
    if (!Ranks.IsFirst)
        Console.SetOut(TextWriter.Null);
    return JobCommandLine.Run(args,
        settings => FitCommand.Run(settings, interrupt.Token).Dispose(),
        settings => GenerateCommand.Run(settings, interrupt.Token),
        FitCommand.Draw,
        settings =>
        {
            using var fitted = FitCommand.Run(settings, interrupt.Token);
            Console.WriteLine("Generating ...");
            GenerateCommand.Run(settings, interrupt.Token, fitted);
        });
}
catch (Exception e) when (interrupt.IsCancellationRequested)
{
    string unsaved = e is IOException ? $" {e.Message.ReplaceLineEndings(" ")}" : "";
    Console.Error.WriteLine($"{endOfProgress}{(exitCode == terminated ? "Terminated" : "Interrupted")}.{unsaved}");
    return exitCode;
}
catch (Exception e)
{
    while (e is AggregateException or TargetInvocationException && e.InnerException is { } inner)
        e = inner;
    Console.Error.WriteLine($"{endOfProgress}Failed: {e.Message.ReplaceLineEndings(" ")}");
    return failed;
}

PosixSignalRegistration End(PosixSignal signal, int code) => PosixSignalRegistration.Create(signal, context =>
{
    context.Cancel = true;      // ends where it is safe to: training finishes its step and saves a checkpoint
    exitCode = code;
    interrupt.Cancel();
});
