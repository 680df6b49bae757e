using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json.Serialization;
using TorchSharp;

namespace Microsoft.ML.Mobius.Benchmarks;

/// <summary>What was measured, when and on what: belongs to every result.</summary>
/// <param name="Date">When it was done.</param>
/// <param name="Commit">Of this repository.</param>
/// <param name="Hardware">Processor and memory.</param>
/// <param name="Threads">That torch computed with.</param>
/// <param name="Versions">Of libraries and system.</param>
/// <param name="Environment">Variables that change what is measured.</param>
/// <param name="OthersCores">Cores that other processes kept busy meanwhile, on average; null where the system does not tell.</param>
internal sealed record Machine(
    string Date, string Commit, string Hardware, int Threads, string Versions, IReadOnlyDictionary<string, string> Environment, double? OthersCores)
{
    /// <summary>Of a core: more than that and the figures are told to be contended.</summary>
    private const double Quiet = 0.1;

    private static readonly OtherWork s_others = new();

    /// <summary>To be called when the program starts: other work is watched from here on.</summary>
    public static void Watch() => System.Runtime.CompilerServices.RuntimeHelpers.RunClassConstructor(typeof(Machine).TypeHandle);


    /// <summary>Variables that change what is measured.</summary>
    private static readonly string[] s_variables = ["OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "ONEDNN_MAX_CPU_ISA", "MALLOC_ARENA_MAX",
        "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES", "LD_PRELOAD"];

    /// <param name="threads">That torch computed with, in the processes that measured.</param>
    public static Machine This(int threads) => new(
        DateTime.UtcNow.ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture) + " UTC",
        System.Environment.GetEnvironmentVariable("MOBIUS_COMMIT") ?? "unknown",
        $"{Processor()}, {System.Environment.ProcessorCount} logical cores to use, {GC.GetGCMemoryInfo().TotalAvailableMemoryBytes >> 30} GiB of memory",
        threads,
        $"{RuntimeInformation.FrameworkDescription}, TorchSharp {typeof(torch).Assembly.GetName().Version}, libtorch {torch.__version__}, "
            + RuntimeInformation.OSDescription,
        s_variables.Where(name => System.Environment.GetEnvironmentVariable(name) is not null).ToDictionary(name => name, name => System.Environment.GetEnvironmentVariable(name)!),
        s_others.Cores());

    /// <summary>As lines of a report.</summary>
    [JsonIgnore]
    public string Markdown => $"""
        - {Date}, commit {Commit}
        - {Hardware}; {Threads} threads{string.Concat(Environment.Select(variable => $", {variable.Key}={variable.Value}"))}
        - {Versions}{(OthersCores > Quiet ? string.Create(CultureInfo.InvariantCulture,
            $"\n- CONTENDED: other work took {OthersCores:F1} cores meanwhile; wall seconds say little then, and processor seconds are upper bounds.") : "")}
        """;

    private static string Processor()
    {
        const string Model = "model name";
        string? line = File.Exists("/proc/cpuinfo") ? File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith(Model, StringComparison.Ordinal)) : null;
        return line?[(line.IndexOf(':') + 1)..].Trim() ?? RuntimeInformation.ProcessArchitecture.ToString();
    }
}
