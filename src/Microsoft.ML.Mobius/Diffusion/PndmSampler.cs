using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>
/// PNDM: a linear multistep method whose steps are DDIM's (Liu et al. 2022, arXiv 2202.09778, algorithms 2 and 1, eq. 11 to 13). As in
/// diffusers, what is combined is the model's predictions, of whatever kind; of velocities, which turn with t even where ε and z_0 stay, that
/// leaves the first order.
/// </summary>
internal sealed record PndmSampler : Sampler
{
    private const int RungeKuttaSteps = 3, RungeKuttaCalls = 4 * RungeKuttaSteps;

    public TimestepSpacing Spacing { get; init; }

    /// <summary>
    /// Whether the first three of four or more steps are of the pseudo Runge-Kutta method, with four calls of the model each, as in the paper.
    /// The default, false, makes up for the missing predictions by a second call at the second time step.
    /// </summary>
    public bool RungeKutta { get; init; }

    public static PndmSampler Of(NoiseScheduleConfig config) => new()
    {
        Spacing = config.Spacing(TimestepSpacing.Leading),
        RungeKutta = !config.Setting("skip_prk_steps", false),
    };

    public override IReadOnlyList<double> Timesteps(NoiseSchedule schedule, int steps)
    {
        var (times, ends) = (Spacing.WholeTimes(schedule, steps), Spacing.NextTimes(schedule, steps));
        int[] calls = StartsByRungeKutta(steps)
            ? [.. times.Zip(ends).Take(RungeKuttaSteps).SelectMany(
                step => new[] { step.First, Middle(step.First, step.Second), Middle(step.First, step.Second), step.Second }),
                .. times[RungeKuttaSteps..]]
            : steps == 1 ? times : [times[0], times[1], .. times[1..]];
        return [.. calls];
    }

    protected override Func<Tensor, int, Tensor> Stepping(Denoiser denoise, NoiseSchedule schedule, int steps, Func<Tensor> draw)
    {
        var calls = Timesteps(schedule, steps);
        var (times, ends) = (Spacing.WholeTimes(schedule, steps), Spacing.NextTimes(schedule, steps));
        bool rungeKutta = StartsByRungeKutta(steps);
        int calledMore = calls.Count - steps;
        var (ofStep, ofStage) = (new Recent(4), new Recent(4));                           // e_t of the steps, and of the stages of one
        var start = new Recent(1);                                                        // z of a step with several calls

        // φ of eq. 11: DDIM's step from t to another time with a given prediction.
        Tensor Transfer(Tensor z, Tensor prediction, int t, int next)
        {
            NoiseLevel from = schedule.Level(t), to = schedule.Level(next);
            return to.Signal * schedule.CleanOf(prediction, z, from) + to.Noise * schedule.NoiseOf(prediction, z, from);
        }

        Tensor RungeKuttaStage(Tensor z, Tensor e, int i)
        {
            int t = times[i / 4], end = ends[i / 4], middle = Middle(t, end);
            ofStage.Add(e);
            if (i % 4 == 0)
            {
                start.Add(z);
                ofStep.Add(e);
            }
            return (i % 4) switch
            {
                0 or 1 => Transfer(start[0], e, t, middle),
                2 => Transfer(start[0], e, t, end),
                _ => Transfer(start[0], (ofStage[3] + 2 * ofStage[2] + 2 * ofStage[1] + ofStage[0]) / 6, t, end),
            };
        }

        Tensor LinearMultistep(Tensor z, Tensor e, int i)
        {
            if (!rungeKutta && i == 0)
                start.Add(z);
            if (!rungeKutta && i == 1)                                                    // the first step again, with the mean of both ends
                return Transfer(start[0], (e + ofStep[0]) / 2, times[0], ends[0]);
            ofStep.Add(e);
            var combined = ofStep.Count switch
            {
                1 => e,
                2 => (3 * ofStep[0] - ofStep[1]) / 2,
                3 => (23 * ofStep[0] - 16 * ofStep[1] + 5 * ofStep[2]) / 12,
                _ => (55 * ofStep[0] - 59 * ofStep[1] + 37 * ofStep[2] - 9 * ofStep[3]) / 24,
            };
            int k = Math.Max(0, i - calledMore);
            return Transfer(z, combined, times[k], ends[k]);
        }

        return (z, i) =>
        {
            var e = denoise(z, calls[i]);
            return rungeKutta && i < RungeKuttaCalls ? RungeKuttaStage(z, e, i) : LinearMultistep(z, e, i);
        };
    }

    private bool StartsByRungeKutta(int steps) => RungeKutta && steps > RungeKuttaSteps;

    private static int Middle(int t, int end) => end + (t - end) / 2;
}
