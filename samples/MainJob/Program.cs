using System.Reflection;
using Microsoft.ML.Mobius.Samples.MainJob;

const int failed = 1, interrupted = 130;
string endOfProgress = Console.IsOutputRedirected ? "" : "\n";
using var interrupt = new CancellationTokenSource();
Console.CancelKeyPress += (_, e) =>
{
    e.Cancel = true;            // ends where it is safe to
    interrupt.Cancel();
};

try
{
    return JobCommandLine.Run(
        args, settings => FitCommand.Run(settings, interrupt.Token), settings => GenerateCommand.Run(settings, interrupt.Token));
}
catch (Exception) when (interrupt.IsCancellationRequested)
{
    Console.Error.WriteLine($"{endOfProgress}Interrupted.");
    return interrupted;
}
catch (Exception e)
{
    while (e is AggregateException or TargetInvocationException && e.InnerException is { } inner)
        e = inner;
    Console.Error.WriteLine($"{endOfProgress}Failed: {e.Message.ReplaceLineEndings(" ")}");
    return failed;
}
