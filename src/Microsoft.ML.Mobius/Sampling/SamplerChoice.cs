using Microsoft.ML.Mobius.Diffusion;

namespace Microsoft.ML.Mobius.Sampling;

/// <summary>Which method a model is sampled by.</summary>
internal static class SamplerChoice
{
    /// <summary>What a config must not ask for.</summary>
    private static readonly string[] s_unsupported =
        ["thresholding", "use_exponential_sigmas", "use_beta_sigmas", "use_flow_sigmas", "invert_sigmas"];

    /// <param name="kind">The method; null for that which the model's config names, and DDIM if it names none of ours.</param>
    /// <param name="config">Of the model: the method's settings.</param>
    /// <param name="eta">DDIM's η, 0 to 1.</param>
    /// <exception cref="NotSupportedException">It asks for something that the method cannot do here, or for an η though it is not DDIM.</exception>
    /// <exception cref="InvalidDataException">It has a value of a wrong type.</exception>
    public static Sampler Of(SamplerKind? kind, NoiseScheduleConfig config, double eta = 0)
    {
        if (s_unsupported.FirstOrDefault(key => config.Setting(key, false)) is { } asked)
            throw new NotSupportedException($"{asked} is not supported.");
        var chosen = kind ?? Named(config.ClassName) ?? SamplerKind.Ddim;
        if (eta > 0 && chosen != SamplerKind.Ddim)
            throw new NotSupportedException(FormattableString.Invariant($"Eta is {eta}, but of {SamplerKind.Ddim} alone; the sampler is {chosen}."));
        return chosen switch
        {
            SamplerKind.Ddim => DdimSampler.Of(config) with { Eta = eta },
            SamplerKind.Ddpm => DdpmSampler.Of(config),
            SamplerKind.Pndm => PndmSampler.Of(config),
            SamplerKind.Euler => EulerSampler.Of(config),
            SamplerKind.EulerAncestral => EulerAncestralSampler.Of(config),
            SamplerKind.DpmSolver => DpmSolverSampler.Of(config),
            SamplerKind.DpmSolverKarras => DpmSolverSampler.Of(config) with { SigmaSpacing = SigmaSpacing.Karras },
            SamplerKind.UniPc => UniPcSampler.Of(config),
            SamplerKind.Lcm => LcmSampler.Of(config),
            var other => throw new ArgumentOutOfRangeException(nameof(kind), other, "There is no such sampler."),
        };
    }

    /// <summary>Why a model cannot be sampled so; null if it can.</summary>
    /// <param name="kind">As in <see cref="Of"/>.</param>
    /// <param name="schedule">Of the model.</param>
    /// <param name="steps">Denoising steps.</param>
    /// <param name="eta">DDIM's η.</param>
    /// <param name="leavesOut">What asks for the first steps to be left out, for the message; null for nothing.</param>
    public static string? Problem(SamplerKind? kind, NoiseSchedule schedule, int steps, double eta = 0, string? leavesOut = null)
    {
        try
        {
            var sampler = Of(kind, schedule.Config, eta);
            _ = sampler.Timesteps(schedule, steps);
            return sampler is PndmSampler && leavesOut is not null
                ? $"{leavesOut}, but {SamplerKind.Pndm} cannot leave out its first steps, which begin its method; all other samplers can." : null;
        }
        catch (Exception e) when (e is NotSupportedException or InvalidDataException or ArgumentOutOfRangeException)
        {
            return e.Message;
        }
    }

    /// <summary>The method of a class of diffusers; null if it is none of ours.</summary>
    public static SamplerKind? Named(string className) => className switch
    {
        "DDIMScheduler" => SamplerKind.Ddim,
        "DDPMScheduler" => SamplerKind.Ddpm,
        "PNDMScheduler" => SamplerKind.Pndm,
        "EulerDiscreteScheduler" => SamplerKind.Euler,
        "EulerAncestralDiscreteScheduler" => SamplerKind.EulerAncestral,
        "DPMSolverMultistepScheduler" => SamplerKind.DpmSolver,
        "UniPCMultistepScheduler" => SamplerKind.UniPc,
        "LCMScheduler" => SamplerKind.Lcm,
        _ => null,
    };
}
