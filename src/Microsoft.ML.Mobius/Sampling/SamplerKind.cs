namespace Microsoft.ML.Mobius.Sampling;

/// <summary>
/// A method of going from noise to a video; all of them work with every model but <see cref="Lcm"/>, which needs one distilled for it.
/// </summary>
/// <remarks>
/// What more there is to say, such as the spacing of the time steps, is taken from the model's scheduler_config.json, and where that says
/// nothing from the defaults of diffusers' class of the same method (0.25). Where it has no final_sigmas_type, <see cref="DpmSolver"/>,
/// <see cref="DpmSolverKarras"/> and <see cref="UniPc"/> thus leave the little noise of the first time step in; "zero" makes them take it out.
/// </remarks>
public enum SamplerKind
{
    /// <summary>DDIM (Song et al. 2021, arXiv 2010.02502) with η = 0: adds no noise.</summary>
    Ddim,

    /// <summary>DDPM (Ho et al. 2020, arXiv 2006.11239): adds noise in each step, and needs many.</summary>
    Ddpm,

    /// <summary>
    /// PNDM (Liu et al. 2022, arXiv 2202.09778): calls the model once more than there are steps, or nine times if the config does not have
    /// skip_prk_steps. Of little use with models that predict the velocity.
    /// </summary>
    Pndm,

    /// <summary>Euler's method (Karras et al. 2022, arXiv 2206.00364).</summary>
    Euler,

    /// <summary>Euler's method with ancestral noise: adds noise in each step.</summary>
    EulerAncestral,

    /// <summary>DPM-Solver++ of second order, multistep (Lu et al. 2022, arXiv 2211.01095): good with 10 to 20 steps.</summary>
    DpmSolver,

    /// <summary>The same with the noise levels of Karras et al. (2022, arXiv 2206.00364, eq. 5).</summary>
    DpmSolverKarras,

    /// <summary>UniPC (Zhao et al. 2023, arXiv 2302.04867): a predictor and its corrector, good with 5 to 15 steps.</summary>
    UniPc,

    /// <summary>
    /// Latent consistency sampling (Luo et al. 2023, arXiv 2310.04378): adds noise, 1 to 50 steps and best 4 to 8, for models distilled for it.
    /// </summary>
    Lcm,
}
