using System.Buffers.Binary;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using System.Security.Cryptography;
using System.Text;

namespace Microsoft.ML.Mobius.Torch;

/// <summary>
/// Lets TorchSharp's native library load on systems whose libstdc++ is older than GCC 13 (Debian 12, Ubuntu 22.04).
/// </summary>
/// <remarks>
/// libLibTorchSharp.so 0.107 asks for the symbol version GLIBCXX_3.4.32 although no relocation uses a symbol of that version, so only the
/// loader's version check fails. The runtime raises <see cref="AssemblyLoadContext.ResolvingUnmanagedDll"/> only after its own
/// search has failed; then, and only if the libstdc++ of this process really lacks a version, a copy of the library in which that
/// requirement is marked weak (VER_FLG_WEAK) is written to a cache folder and loaded. The package folder and the application's
/// folder are never written to, and where the library loads as it is, nothing happens at all.
/// </remarks>
internal static class NativeLibraryFix
{
    private const string LibraryName = "LibTorchSharp";
    private const uint SectionGnuVersionNeed = 0x6ffffffe;       // SHT_GNU_verneed
    private const ushort WeakFlag = 0x2;                          // VER_FLG_WEAK

    private static readonly Lock Gate = new();
    private static nint _handle;

    /// <summary>Whether the library was loaded from a changed copy in this process; false, too, as long as nothing asked for it.</summary>
    public static bool Applied => _handle != 0;

    [ModuleInitializer]
    internal static void Register()
    {
        if (OperatingSystem.IsLinux())
            AssemblyLoadContext.Default.ResolvingUnmanagedDll += Resolve;
    }

    private static nint Resolve(Assembly assembly, string name)
    {
        if (name != LibraryName)
            return 0;
        lock (Gate)
        {
            if (_handle == 0 && Find($"lib{LibraryName}.so") is { } path
                && WithWeakVersions(File.ReadAllBytes(path), LoadedLibrary("libstdc++.so.6")) is { } patched)
            {
                // The copy lies elsewhere, so its $ORIGIN does not lead to libtorch: have it loaded, and the loader matches it by name.
                if (Find("libtorch.so") is { } libtorch)
                    NativeLibrary.Load(libtorch);
                _handle = NativeLibrary.Load(Store(patched));
            }
            return _handle;
        }
    }

    /// <summary>A native library as deployed: beside the application, or in one of the folders its deps.json names.</summary>
    internal static string? Find(string file)
    {
        var folders = ((string?)AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries);
        return folders.Append(AppContext.BaseDirectory)
            .Append(Path.Combine(AppContext.BaseDirectory, "runtimes", RuntimeInformation.RuntimeIdentifier, "native"))
            .Select(folder => Path.Combine(folder, file))
            .FirstOrDefault(File.Exists);
    }

    /// <summary>The bytes of a library this process has mapped, or null if it has mapped none of that name.</summary>
    private static byte[]? LoadedLibrary(string name)
    {
        string? path = File.ReadLines("/proc/self/maps")
            .Select(line => line.IndexOf('/') is var at and >= 0 ? line[at..] : "")
            .FirstOrDefault(mapped => Path.GetFileName(mapped).StartsWith(name, StringComparison.Ordinal));
        return path is null ? null : File.ReadAllBytes(path);
    }

    /// <summary>
    /// A copy of the ELF64 <paramref name="library"/> in which each required GLIBCXX version that <paramref name="runtime"/> does not define is
    /// weak; null if there is none, so that this was not why loading failed.
    /// </summary>
    internal static byte[]? WithWeakVersions(byte[] library, byte[]? runtime)
    {
        if (runtime is null || library.Length < 64 || library[4] != 2 || !library.AsSpan(0, 4).SequenceEqual("\u007fELF"u8))
            return null;

        try
        {
            return Weakened((byte[])library.Clone(), runtime);
        }
        catch (ArgumentOutOfRangeException)
        {
            return null;                                           // an offset leads out of the file: cut off, or no library at all
        }
    }

    private static byte[]? Weakened(byte[] image, byte[] runtime)
    {
        uint U32(long at) => BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan((int)at));
        ushort U16(long at) => BinaryPrimitives.ReadUInt16LittleEndian(image.AsSpan((int)at));
        long U64(long at) => BinaryPrimitives.ReadInt64LittleEndian(image.AsSpan((int)at));
        string Text(long at) => Encoding.ASCII.GetString(image.AsSpan((int)at, image.AsSpan((int)at).IndexOf((byte)0)));

        long sections = U64(0x28), sectionSize = U16(0x3a);
        bool changed = false;
        for (int i = 0; i < U16(0x3c); i++)
        {
            long section = sections + i * sectionSize;
            if (U32(section + 4) != SectionGnuVersionNeed)
                continue;
            long names = U64(sections + U32(section + 0x28) * sectionSize + 0x18);
            long need = U64(section + 0x18);
            for (uint n = U32(section + 0x2c); n > 0; n--, need += U32(need + 12))
            {
                long version = need + U32(need + 8);
                for (int v = U16(need + 2); v > 0; v--, version += U32(version + 12))
                {
                    string name = Text(names + U32(version + 8));
                    if (!name.StartsWith("GLIBCXX_", StringComparison.Ordinal) || runtime.AsSpan().IndexOf(Encoding.ASCII.GetBytes(name + '\0')) >= 0)
                        continue;
                    BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan((int)version + 4), (ushort)(U16(version + 4) | WeakFlag));
                    changed = true;
                }
            }
        }
        return changed ? image : null;
    }

    /// <summary>Writes the copy into the user's cache, aside first, and returns its path; an equal copy is kept.</summary>
    private static string Store(byte[] image)
    {
        string home = Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData);
        string folder = home.Length > 0
            ? Path.Combine(home, "Microsoft.ML.Mobius", "native", Convert.ToHexStringLower(SHA256.HashData(image))[..16])
            : Directory.CreateTempSubdirectory("Microsoft.ML.Mobius.").FullName;
        Directory.CreateDirectory(folder);
        string path = Path.Combine(folder, $"lib{LibraryName}.so");
        if (!File.Exists(path) || !File.ReadAllBytes(path).AsSpan().SequenceEqual(image))
        {
            string aside = Path.Combine(folder, Path.GetRandomFileName());
            File.WriteAllBytes(aside, image);
            File.Move(aside, path, overwrite: true);
        }
        return path;
    }
}
