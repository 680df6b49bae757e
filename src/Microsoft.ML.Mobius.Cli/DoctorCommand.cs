using System.Globalization;
using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Torch;
using Microsoft.ML.Mobius.Video;
using Spectre.Console;
using TorchSharp;

namespace Microsoft.ML.Mobius.Cli;

using Text = Spectre.Console.Text;       // here, for Microsoft.ML.Mobius.Text is a namespace

/// <summary>Looks at what the library needs of the machine, and says what to do about what is missing.</summary>
internal static class DoctorCommand
{
    private const string PassCachesOn = "Have the hypervisor pass CPUID leaf 0x8000001D on (QEMU: -cpu host,topoext=on).";
    private const double Gibibyte = 1L << 30;
    private const double LeastMemory = 2, LeastDisk = 2;

    public static ExampleCommand Define(MobiusCommand mobius)
    {
        var command = new ExampleCommand("doctor", "Checks ffmpeg, the native library, GPU, memory and disk, and says what to do about each.",
            "mobius doctor", "mobius doctor --json");
        command.SetAction(parsed =>
        {
            var terminal = mobius.TerminalFor(parsed);
            Finding[] findings = [Program(), Encoders(), NativeLibrary(), Convolutions(), Gpu(), Memory(), Disk()];
            bool healthy = findings.All(finding => finding.State != State.Missing);
            var result = new JsonObject
            {
                ["healthy"] = healthy,
                ["checks"] = new JsonArray([.. findings.Select(finding => new JsonObject
                {
                    ["name"] = finding.Name, ["state"] = finding.State.ToString().ToLowerInvariant(), ["found"] = finding.Found, ["advice"] = finding.Advice,
                })]),
            };
            terminal.Show(result, console => Write(console, findings));
            return healthy ? 0 : 1;
        });
        return command;
    }

    private static void Write(IAnsiConsole console, Finding[] findings)
    {
        var grid = new Grid().AddColumn(new GridColumn().NoWrap().PadLeft(0).PadRight(2)).AddColumn(new GridColumn().NoWrap().PadLeft(0).PadRight(2))
            .AddColumn(new GridColumn().PadLeft(0).PadRight(0));
        foreach (var (name, state, found, advice) in findings)
        {
            var (word, colour) = state switch
            {
                State.Good => ("ok", Color.Green), State.Poor => ("note", Color.Yellow), _ => ("FAIL", Color.Red),
            };
            grid.AddRow(new Text(word, new Style(colour)), new Text(name), new Text(found));
            if (advice.Length > 0)
                grid.AddRow(new Text(""), new Text(""), new Text($"-> {advice}"));
        }
        console.Write(grid);
    }

    private static Finding Program() => Look("ffmpeg", () => new("ffmpeg", State.Good, $"version {Ffmpeg.Version()}"));

    private static Finding Encoders() => Look("encoders", () =>
    {
        string[] lacking = [.. new[] { "libx264", "gif", "libwebp_anim", "apng" }.Where(name => !Ffmpeg.Encodes(name))];
        return lacking.Length == 0 ? new("encoders", State.Good, "mp4, gif, webp and png can be written")
            : new("encoders", lacking.Contains("libx264") ? State.Missing : State.Poor, $"ffmpeg was built without {string.Join(", ", lacking)}",
                "Take your system's full ffmpeg package, or choose another --format.");
    });

    private static Finding NativeLibrary() => Look("library", () =>
    {
        using var two = torch.ones(1).add(1);
        return two.item<float>() != 2 ? new("library", State.Missing, "the native library adds 1 and 1 wrongly")
            : new("library", State.Good, NativeLibraryFix.Applied ? "loads, from a copy made for this system's older C++ runtime" : "loads");
    });

    private static Finding Convolutions() => Look("oneDNN", () => !OneDnnFix.Works ? new("oneDNN", State.Missing, "convolves wrongly on this CPU", PassCachesOn)
        : OneDnnFix.Notice is { } notice ? new("oneDNN", State.Poor, notice, PassCachesOn)
        : new("oneDNN", State.Good, "convolves rightly on the CPU"));

    private static Finding Gpu() => Look("gpu", () =>
    {
        int count = DeviceChoice.GpuCount();
        if (count > 0)
            return new("gpu", State.Good, $"{count} CUDA device{(count == 1 ? "" : "s")}: --gpu 0 computes there");
        return Directory.Exists("/proc/driver/nvidia") || File.Exists(@"C:\Windows\System32\nvcuda.dll")
            ? new("gpu", State.Poor, "there is one, but this build computes on the CPU alone",
                "Build with -p:MobiusTorch=cuda-linux (or cuda-windows), then use --gpu 0.")
            : new("gpu", State.Good, $"none: {Environment.ProcessorCount} CPU core{(Environment.ProcessorCount == 1 ? "" : "s")} compute");
    });

    private static Finding Memory() => Look("memory", () =>
    {
        var (all, free) = (GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / Gibibyte, Free() / Gibibyte);
        string found = string.Create(CultureInfo.InvariantCulture, $"{all:F1} GiB{(free is null ? "" : $", {free:F1} GiB free")}");
        return (free ?? all) >= LeastMemory ? new("memory", State.Good, found)
            : new("memory", State.Poor, found, "Training the embedded base takes about 1 GiB: end other programs, or take smaller batches.");
    });

    private static Finding Disk() => Look("disk", () =>
    {
        double free = new DriveInfo(Environment.CurrentDirectory).AvailableFreeSpace / Gibibyte;
        string found = string.Create(CultureInfo.InvariantCulture, $"{free:F1} GiB free in the current folder");
        return free >= LeastDisk ? new("disk", State.Good, found)
            : new("disk", State.Poor, found, "Checkpoints take some hundred MB: make room, or give --out a folder elsewhere.");
    });

    // What Linux says could be taken without swapping; elsewhere not known.
    private static double? Free() => !OperatingSystem.IsLinux() ? null
        : File.ReadLines("/proc/meminfo").FirstOrDefault(line => line.StartsWith("MemAvailable:", StringComparison.Ordinal)) is { } line
        && long.TryParse(line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture, out long kibibytes) ? kibibytes * 1024.0 : null;

    private static Finding Look(string name, Func<Finding> look)
    {
        try
        {
            return look();
        }
        catch (Exception e)
        {
            while (e is TypeInitializationException && e.InnerException is { } inner)
                e = inner;
            return name switch
            {
                "ffmpeg" or "encoders" => new(name, State.Missing, "ffmpeg does not start",
                    "Install it so that it is on the PATH (Debian and Ubuntu: apt-get install ffmpeg; macOS: brew install ffmpeg; Windows: winget install ffmpeg)."),
                "library" => new(name, State.Missing, $"does not load: {e.Message.ReplaceLineEndings(" ")}",
                    "TorchSharp's library for this system must lie beside the program: reinstall mobius. On Windows, install the Visual C++ runtime."),
                _ => new(name, State.Poor, $"cannot be told: {e.Message.ReplaceLineEndings(" ")}"),
            };
        }
    }

    private enum State
    {
        Good,
        Poor,
        Missing,
    }

    private sealed record Finding(string Name, State State, string Found, string Advice = "");
}
