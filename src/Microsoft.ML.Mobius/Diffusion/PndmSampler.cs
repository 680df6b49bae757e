using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>
/// PNDM: a linear multistep method whose steps are DDIM's (Liu et al. 2022, arXiv 2202.09778, algorithms 2 and 1, eq. 11 to 13). As in diffusers, what
/// is combined is the model's predictions, of whatever kind.
/// </summary>
internal sealed record PndmSampler : Sampler
{
    private const int RungeKuttaSteps = 3, RungeKuttaCalls = 4 * RungeKuttaSteps;

    public TimestepSpacing Spacing { get; init; }

    /// <summary>
    /// Whether the first three of four or more steps are of the pseudo Runge-Kutta method, with four calls of the model each, as in the paper. The
    /// default, false, makes up for the missing predictions by one call at the second time step twice.
    /// </summary>
    public bool RungeKutta { get; init; }

    public static PndmSampler Of(NoiseScheduleConfig config) => new()
    {
        Spacing = config.Spacing(TimestepSpacing.Leading),
        RungeKutta = !config.Setting("skip_prk_steps", false),
    };

    public override IReadOnlyList<double> Timesteps(NoiseSchedule schedule, int steps) => [.. Times(schedule, steps)];

    protected override Func<Tensor, int, Tensor> Stepping(Denoiser denoise, NoiseSchedule schedule, int steps, Func<Tensor> draw)
    {
        int[] times = Times(schedule, steps);
        int stride = schedule.Steps / steps;
        bool rungeKutta = StartsByRungeKutta(steps);
        var (ofStep, ofStage) = (new Recent(4), new Recent(4));                           // e_t of the steps, and of the stages of one
        var start = new Recent(1);                                                        // z of a step with several calls

        // φ of eq. 11: DDIM's step from t to another time with a given prediction.
        Tensor Transfer(Tensor z, Tensor prediction, int t, int next)
        {
            NoiseLevel from = schedule.Level(t), to = schedule.Level(next);
            return to.Signal * schedule.CleanOf(prediction, z, from) + to.Noise * schedule.NoiseOf(prediction, z, from);
        }

        Tensor RungeKuttaStage(Tensor z, int i)
        {
            int stage = i % 4, t = times[i - stage], next = times[i - stage + 3], half = stride / 2;
            var e = denoise(z, times[i]);
            ofStage.Add(e);
            if (stage == 0)
            {
                start.Add(z);
                ofStep.Add(e);
            }
            return stage switch
            {
                0 => Transfer(start[0], e, t, t - half),
                1 => Transfer(start[0], e, t, times[i]),
                2 => Transfer(start[0], e, t, times[i] - half),
                _ => Transfer(start[0], (ofStage[3] + 2 * ofStage[2] + 2 * ofStage[1] + ofStage[0]) / 6, t, next),
            };
        }

        Tensor LinearMultistep(Tensor z, int i)
        {
            int t = times[i];
            var e = denoise(z, t);
            if (!rungeKutta && i == 0)
                start.Add(z);
            if (!rungeKutta && i == 1)                                                    // the first step again, with the mean of both ends
                return Transfer(start[0], (e + ofStep[0]) / 2, t + stride, t);
            ofStep.Add(e);
            var combined = ofStep.Count switch
            {
                1 => e,
                2 => (3 * ofStep[0] - ofStep[1]) / 2,
                3 => (23 * ofStep[0] - 16 * ofStep[1] + 5 * ofStep[2]) / 12,
                _ => (55 * ofStep[0] - 59 * ofStep[1] + 37 * ofStep[2] - 9 * ofStep[3]) / 24,
            };
            return Transfer(z, combined, t, t - stride);
        }

        return (z, i) => rungeKutta && i < RungeKuttaCalls ? RungeKuttaStage(z, i) : LinearMultistep(z, i);
    }

    private bool StartsByRungeKutta(int steps) => RungeKutta && steps > RungeKuttaSteps;

    private int[] Times(NoiseSchedule schedule, int steps)
    {
        int[] times = Spacing.WholeTimes(schedule, steps);
        if (!StartsByRungeKutta(steps))
            return steps == 1 ? times : [times[0], times[1], .. times[1..]];
        int half = schedule.Steps / steps / 2;
        return [.. Enumerable.Range(0, RungeKuttaSteps).SelectMany(k => new[] { times[k], times[k + 1] + half, times[k + 1] + half, times[k + 1] }),
            .. times[RungeKuttaSteps..]];
    }
}
