using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using Microsoft.ML.Mobius.Distributed;
using Microsoft.ML.Mobius.Files;
using Microsoft.ML.Mobius.Models;

namespace Microsoft.ML.Mobius.Training;

/// <summary>
/// The checkpoints of one run: a folder step-00000500 each, with the files of <see cref="TrainingState"/> and a manifest that is written last and has the
/// run's identity and every file's size and hash.
/// </summary>
/// <remarks>
/// A checkpoint is written under a passing name, every file flushed to the disk, and renamed once it is whole: a process that is killed leaves the
/// checkpoints before, and a passing folder that the next run removes.
/// </remarks>
internal sealed class Checkpoints
{
    private const string Prefix = "step-", Manifest = "checkpoint.json", Trial = "step-trial";
    private const int Format = 1;

    private readonly CheckpointSettings _settings;
    private readonly IReadOnlyDictionary<string, string> _identity;
    private readonly Action<string> _say, _warn;
    private readonly string _folder;
    private readonly int _ranks;
    private readonly Stopwatch _since = Stopwatch.StartNew();
    private int _last;

    /// <param name="settings">Where, when and how many.</param>
    /// <param name="identity">All that the numbers of the run depend on.</param>
    /// <param name="ranks">Processes that train.</param>
    /// <param name="say">Told what was saved and resumed.</param>
    /// <param name="warn">Told which checkpoints are damaged.</param>
    public Checkpoints(CheckpointSettings settings, IReadOnlyDictionary<string, string> identity, int ranks, Action<string> say, Action<string> warn)
    {
        (_settings, _identity, _ranks, _say, _warn) = (settings, identity, ranks, say, warn);
        _folder = Path.TrimEndingDirectorySeparator(Path.GetFullPath(settings.Folder));
    }

    /// <summary>Makes the folder, or removes from it what a run that was killed left half-written.</summary>
    /// <exception cref="InvalidOperationException">It has checkpoints, and resuming was not asked for.</exception>
    /// <exception cref="IOException">It cannot be written to.</exception>
    public static void Prepare(CheckpointSettings settings)
    {
        string folder = settings.Folder;
        WritableFolder.Make(folder, "The folder of checkpoints");
        foreach (string leftover in Directory.GetDirectories(folder, $".{Prefix}*"))
            Directory.Delete(leftover, recursive: true);
        if (!settings.Resume && Steps(folder) is [var newest, ..])
            throw new InvalidOperationException($"'{folder}' has checkpoints already, the newest of step {newest}: "
                + "ask to resume from it, or name another folder.");
    }

    /// <summary>
    /// Batches of a step, over all ranks: so many for each as the settings say. A run that is resumed by more or fewer ranks has as many as before, so that it goes on at
    /// the same place in the data, whatever share of them each rank then has.
    /// </summary>
    /// <param name="settings">Those of a rank.</param>
    /// <param name="group">Of which rank 0 alone needs the folder; all ranks must ask.</param>
    public static int BatchesPerStep(TrainingSettings settings, ProcessGroup group)
    {
        int ofRank = settings.GradientAccumulationSteps, batches = ofRank * group.Size;
        if (settings.Checkpoints is { Resume: true, Folder: { } folder } && group.IsFirst && Directory.Exists(folder))
            foreach (int step in Steps(folder))
            {
                if (!TryRead(Path.Combine(folder, FormattableString.Invariant($"{Prefix}{step:D8}"), Manifest), out var found))
                    continue;
                int before = int.Parse(found.Run[nameof(TrainingSettings.GradientAccumulationSteps)], CultureInfo.InvariantCulture);
                if (before == ofRank * found.Ranks)
                    batches = before;
                break;
            }
        return int.Parse(group.Broadcast($"{batches}"), CultureInfo.InvariantCulture);
    }

    /// <summary>Resumes where it was asked for, and tries whether checkpoints can be written before there is anything to lose.</summary>
    /// <param name="state">That of a run that has not begun; moved to where the newest good checkpoint is.</param>
    /// <exception cref="InvalidOperationException">
    /// The folder has checkpoints and resuming was not asked for, or those of a run with other options, model or clips; the message names what differs.
    /// </exception>
    /// <exception cref="InvalidDataException">There are checkpoints, and all are damaged.</exception>
    /// <exception cref="IOException">The folder cannot be written to, or the disk is too full.</exception>
    public void Begin(TrainingState state)
    {
        Prepare(_settings);
        if (_settings.Resume)
            Resume(state, Steps(_folder));
        long size = Try(state);
        long there = new DirectoryInfo(_folder).EnumerateFiles("*", SearchOption.AllDirectories).Sum(file => file.Length);
        CheckSpace(_folder, (_settings.Kept + 1) * size - there, new DriveInfo(_folder).AvailableFreeSpace);
    }

    /// <summary>Whether one should be saved after a step.</summary>
    public bool IsDue(int step) => (_settings.Every > 0 && step % _settings.Every == 0)
        || (_settings.Minutes > 0 && _since.Elapsed.TotalMinutes >= _settings.Minutes);

    /// <summary>Saves the state, unless it was, and removes all but the newest checkpoints.</summary>
    /// <exception cref="IOException">It cannot be written; the checkpoints before stay.</exception>
    public void Save(TrainingState state)
    {
        if (state.Step == _last)
            return;
        string path = PathOf(state.Step);
        FolderAside.Write(path, _ => { }, folder => Write(folder, state));
        _last = state.Step;
        _since.Restart();
        _say($"Step {state.Step}: saved as '{path}', which training can be resumed from.");

        // What lies beyond this step is damaged, or it would have been resumed from: it does not count.
        foreach (int step in Steps(_folder).Where(step => step <= state.Step).Skip(_settings.Kept))
        {
            string passing = Path.Combine(_folder, $".{Prefix}{step:D8}.old");
            Directory.Move(PathOf(step), passing);              // at once: half a checkpoint never has its name
            Directory.Delete(passing, recursive: true);
        }
    }

    /// <exception cref="IOException">Less is free than is needed.</exception>
    internal static void CheckSpace(string folder, long needed, long free)
    {
        if (free < needed)
            throw new IOException($"The disk of '{folder}' is too full for the run's checkpoints: {needed >> 20} MiB are needed, {free >> 20} MiB are free. "
                + "Keep fewer, or keep them elsewhere.");
    }


    private void Resume(TrainingState state, int[] steps)
    {
        var damages = new List<string>();
        foreach (int step in steps)
        {
            try
            {
                var found = Check(step);
                if (RunIdentity.Differences(found.Run, _identity) is { Count: > 0 } differences)
                    throw new InvalidOperationException($"'{PathOf(step)}' is of another run and cannot be resumed from: {string.Join("; ", differences)}.");
                state.Read(PathOf(step));
                _last = step;
                foreach (string damage in damages)
                    _warn($"{damage} It is left out.");
                _say($"Resumed after step {step} from '{PathOf(step)}'.");
                return;
            }
            catch (Exception e) when (e is IOException or InvalidDataException)
            {
                damages.Add($"The checkpoint '{PathOf(step)}' is damaged: {e.Message}");
            }
        }
        if (damages.Count > 0)
            throw new InvalidDataException($"There is nothing to resume from: {string.Join(' ', damages)}");
        _warn($"'{_folder}' has no checkpoint to resume from: training begins at step 1.");
    }

    /// <summary>The steps that there are checkpoints of, newest first.</summary>
    private static int[] Steps(string folder) =>
    [
        .. Directory.EnumerateDirectories(folder, $"{Prefix}*").Select(path => Path.GetFileName(path)[Prefix.Length..])
            .Where(name => int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out _))
            .Select(name => int.Parse(name, CultureInfo.InvariantCulture)).OrderDescending(),
    ];

    private string PathOf(int step) => Path.Combine(_folder, FormattableString.Invariant($"{Prefix}{step:D8}"));

    /// <summary>Saves the state as any checkpoint, and removes it.</summary>
    /// <returns>Its size in bytes.</returns>
    private long Try(TrainingState state)
    {
        string path = Path.Combine(_folder, Trial);
        try
        {
            FolderAside.Write(path, _ => { }, folder => Write(folder, state));
            return new DirectoryInfo(path).EnumerateFiles().Sum(file => file.Length);
        }
        finally
        {
            if (Directory.Exists(path))
                Directory.Delete(path, recursive: true);
        }
    }

    private void Write(string folder, TrainingState state)
    {
        state.Write(folder);
        var files = new DirectoryInfo(folder).EnumerateFiles().ToDictionary(file => file.Name, file => new Content(file.Length, Hash(file.FullName)));
        var description = new Description(Format, state.Step, _identity, files, _ranks);
        FileAside.WriteThrough(Path.Combine(folder, Manifest), stream => JsonSerializer.Serialize(stream, description));
    }

    /// <exception cref="InvalidDataException">The checkpoint is not whole; the message names the file.</exception>
    private Description Check(int step)
    {
        string folder = PathOf(step), manifest = Path.Combine(folder, Manifest);
        if (!File.Exists(manifest))
            throw new InvalidDataException($"{Manifest} is missing.");
        if (Read(manifest) is not { Run: not null, Files: not null } found)
            throw new InvalidDataException($"{Manifest} describes no checkpoint.");
        if (found.Format != Format)
            throw new InvalidDataException($"its format is {found.Format}, expected is {Format}.");
        if (found.Step != step)
            throw new InvalidDataException($"{Manifest} is that of step {found.Step}.");
        foreach (var (name, content) in found.Files)
        {
            var file = new FileInfo(Path.Combine(folder, name));
            if (!file.Exists)
                throw new InvalidDataException($"{name} is missing.");
            if (file.Length != content.Bytes)
                throw new InvalidDataException($"{name} has {file.Length} bytes, expected are {content.Bytes}.");
            if (Hash(file.FullName) != content.Sha256)
                throw new InvalidDataException($"the bytes of {name} are not those that were written.");
        }
        return found;
    }

    private static Description? Read(string manifest)
    {
        try
        {
            using var stream = File.OpenRead(manifest);
            return JsonSerializer.Deserialize<Description>(stream);
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"{Manifest} is not whole: {e.Message}", e);
        }
    }

    private static bool TryRead(string manifest, [NotNullWhen(true)] out Description? found)
    {
        found = null;
        try
        {
            found = File.Exists(manifest) && Read(manifest) is { Run: not null } one && one.Run.ContainsKey(nameof(TrainingSettings.GradientAccumulationSteps)) ? one : null;
        }
        catch (Exception e) when (e is IOException or InvalidDataException)
        {
            // Whoever resumes will find it damaged, and say so.
        }
        return found is not null;
    }

    private static string Hash(string path)
    {
        using var stream = File.OpenRead(path);
        return Convert.ToHexStringLower(SHA256.HashData(stream));
    }

    private sealed record Description(int Format, int Step, IReadOnlyDictionary<string, string> Run, IReadOnlyDictionary<string, Content> Files,
        int Ranks = 1);

    private sealed record Content(long Bytes, string Sha256);
}
