namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>timestep_spacing: which of the T training time steps a model is called at (Lin et al. 2023, arXiv 2305.08891, table 2).</summary>
internal enum TimestepSpacing
{
    /// <summary>Multiples of ⌊T/n⌋ plus steps_offset; the last step, T - 1, is not among them.</summary>
    Leading,

    /// <summary>From T - 1 down by T/n, rounded.</summary>
    Trailing,

    /// <summary>From T - 1 to 0, both among them, not rounded.</summary>
    Linspace,
}

internal static class TimestepSpacingTimes
{
    /// <summary>Time steps from high to low.</summary>
    /// <param name="spacing">Which ones.</param>
    /// <param name="schedule">T and steps_offset.</param>
    /// <param name="count">n, 1 to T.</param>
    /// <exception cref="ArgumentOutOfRangeException">n is not.</exception>
    public static double[] Times(this TimestepSpacing spacing, NoiseSchedule schedule, int count)
    {
        int last = schedule.Steps - 1;
        if (count < 1 || count > schedule.Steps)
            throw new ArgumentOutOfRangeException(
                nameof(count), count, $"The model was trained at {schedule.Steps} time steps, of which 1 to all can be taken.");
        Func<int, double> time = spacing switch
        {
            TimestepSpacing.Leading => i => Math.Min((count - 1 - i) * (schedule.Steps / count) + schedule.Config.StepsOffset, last),
            TimestepSpacing.Trailing => i => Math.Round(schedule.Steps - i * ((double)schedule.Steps / count)) - 1,
            _ => i => i == 0 ? last : (count - 1 - i) * (last / (count - 1.0)),
        };
        return [.. Enumerable.Range(0, count).Select(time)];
    }

    /// <summary>The same as whole numbers.</summary>
    public static int[] WholeTimes(this TimestepSpacing spacing, NoiseSchedule schedule, int count)
        => [.. spacing.Times(schedule, count).Select(t => (int)Math.Round(t))];

    /// <summary>The time step to which one goes from each of them; below 0 is the end.</summary>
    /// <remarks>
    /// It is ⌊T/n⌋ below, as in diffusers. Of <see cref="TimestepSpacing.Trailing"/> it is the next one, which is the same where n divides T;
    /// where n does not, ⌊T/n⌋ is short of it.
    /// </remarks>
    public static int[] NextTimes(this TimestepSpacing spacing, NoiseSchedule schedule, int count)
    {
        int[] times = spacing.WholeTimes(schedule, count);
        return spacing == TimestepSpacing.Trailing ? [.. times[1..], -1] : [.. times.Select(t => t - schedule.Steps / count)];
    }
}
