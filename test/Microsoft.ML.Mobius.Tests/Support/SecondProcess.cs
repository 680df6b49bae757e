using System.Diagnostics;

namespace Microsoft.ML.Mobius.Tests;

/// <summary>Runs a program that lies beside the tests, in a process of its own.</summary>
internal static class SecondProcess
{
    /// <param name="program">File name of the .dll.</param>
    /// <param name="arguments">Its command line.</param>
    /// <param name="environment">Variables other than this process's.</param>
    public static (int ExitCode, string Output, string Error) Run(
        string program, IEnumerable<string> arguments, params (string Name, string Value)[] environment)
    {
        using var process = Start(program, arguments, environment);
        var error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, error.Result);
    }

    /// <summary>The same, not waited for; what it prints must be read, or it ends up waiting.</summary>
    public static Process Start(string program, IEnumerable<string> arguments, params (string Name, string Value)[] environment)
    {
        string dotnet = Environment.ProcessPath is { } host && Path.GetFileNameWithoutExtension(host) == "dotnet" ? host : "dotnet";
        var start = new ProcessStartInfo(dotnet, ["exec", Path.Combine(AppContext.BaseDirectory, program), .. arguments])
        {
            RedirectStandardOutput = true, RedirectStandardError = true,
        };
        foreach (var (name, value) in environment)
            start.Environment[name] = value;
        return Process.Start(start)!;
    }
}
