namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>Which of the T training time steps a model is called at (Lin et al. 2023, arXiv 2305.08891, table 2): timestep_spacing.</summary>
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
            throw new ArgumentOutOfRangeException(nameof(count), count, $"The model was trained at {schedule.Steps} time steps, of which 1 to all can be taken.");
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
}
