using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Diffusion;

/// <summary>
/// Predicts what the schedule's prediction_type says, usually the noise in z_t: (z_t, t) -> ε. A t that is no whole number is between two.
/// </summary>
internal delegate Tensor Denoiser(Tensor z, double t);

/// <summary>A method of going from noise to latents with few calls of a model.</summary>
internal abstract record Sampler
{
    /// <summary>The time steps at which the model is called, in their order; n of them, with <see cref="PndmSampler"/> more.</summary>
    /// <param name="schedule">The schedule that the model was trained with.</param>
    /// <param name="steps">n.</param>
    public abstract IReadOnlyList<double> Timesteps(NoiseSchedule schedule, int steps);

    /// <summary>From noise to latents.</summary>
    /// <param name="denoise">The model, guidance included.</param>
    /// <param name="schedule">The schedule that it was trained with.</param>
    /// <param name="noise">z_T, standard normal, [B, c, F, h, w]; not disposed.</param>
    /// <param name="steps">n, 1 to T.</param>
    /// <param name="draw">Standard normal noise of the same shape, a new one with each call; only needed where a method adds noise.</param>
    /// <param name="afterStep">Called with the number of calls of the model done; may throw to stop.</param>
    /// <param name="source">Latents to begin with, noised to the level of the first step taken, and how many are left out before it; null for noise alone.</param>
    /// <returns>z_0, of the same shape; belongs to the caller's scope.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The method cannot take so many steps.</exception>
    public Tensor Sample(
        Denoiser denoise, NoiseSchedule schedule, Tensor noise, int steps, Func<Tensor>? draw = null, Action<int>? afterStep = null,
        (Tensor Clean, int Skipped)? source = null)
    {
        using var sampling = NewDisposeScope();
        int count = Timesteps(schedule, steps).Count;
        var step = Stepping(denoise, schedule, steps,
            draw ?? (() => throw new ArgumentNullException(nameof(draw), $"{GetType().Name} adds noise.")));
        int first = source?.Skipped ?? 0;
        var z = source is { } given ? Noised(schedule, given.Clean, noise, steps, first) : Begin(schedule, noise, steps);
        for (int i = first; i < count; i++)
        {
            using var scope = NewDisposeScope();
            var next = step(z, i);
            z.Dispose();
            z = next.MoveToOuterDisposeScope();
            afterStep?.Invoke(i + 1 - first);
        }
        return z.MoveToOuterDisposeScope();
    }

    /// <summary>What the first step gets; a tensor of its own.</summary>
    protected virtual Tensor Begin(NoiseSchedule schedule, Tensor noise, int steps) => noise.alias();

    /// <summary>What the i-th step gets where the latents are known (SDEdit, Meng et al. 2022, arXiv 2108.01073); a tensor of its own.</summary>
    protected virtual Tensor Noised(NoiseSchedule schedule, Tensor clean, Tensor noise, int steps, int i)
    {
        var level = NoiseLevel.OfRatio(schedule.Sigma(Timesteps(schedule, steps)[i]));
        return level.Signal * clean + level.Noise * noise;
    }

    /// <summary>The method: from z to the next one by the i-th call of the model.</summary>
    protected abstract Func<Tensor, int, Tensor> Stepping(Denoiser denoise, NoiseSchedule schedule, int steps, Func<Tensor> draw);

    /// <summary>The last few tensors of a multistep method, the newest first: they outlive the step that they were added in.</summary>
    protected sealed class Recent(int capacity)
    {
        private readonly List<Tensor> _newestFirst = [];

        public int Count => _newestFirst.Count;

        public Tensor this[int i] => _newestFirst[i];

        public void Add(Tensor prediction)
        {
            _newestFirst.Insert(0, prediction.alias().MoveToOuterDisposeScope());
            if (Count <= capacity)
                return;
            _newestFirst[^1].Dispose();
            _newestFirst.RemoveAt(capacity);
        }
    }
}
