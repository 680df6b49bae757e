using System.Text.Json.Serialization;

namespace Microsoft.ML.Mobius.Training;

/// <summary>How a model is trained; each option is described at <c>TextToVideoTrainer.Options</c>.</summary>
internal sealed record TrainingSettings
{
    public required int Steps { get; init; }
    public int BatchSize { get; init; } = 8;
    public int GradientAccumulationSteps { get; init; } = 1;
    public OptimizerKind Optimizer { get; init; }
    public double LearningRate { get; init; } = 1e-3;
    public LearningRateSchedule LearningRateSchedule { get; init; }
    public double WeightDecay { get; init; } = 1e-2;
    public int WarmupSteps { get; init; } = 50;
    public LossWeighting LossWeighting { get; init; }
    public double OffsetNoise { get; init; }
    public double InputPerturbation { get; init; }
    public double CaptionDropout { get; init; } = 0.1;

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]                      // a run without is the run that it was before there was such an option
    public double ImageShare { get; init; }

    /// <summary>Null trains the temporal weights themselves.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public LoraSettings? Lora { get; init; }

    public double MaxGradientNorm { get; init; } = 1;
    public double EmaDecay { get; init; }
    public double HeldOutFraction { get; init; } = 0.1;
    public int EvaluateEvery { get; init; } = 100;
    public int EarlyStopping { get; init; }
    public NonFiniteStep NonFiniteStep { get; init; }
    public bool RecomputeActivations { get; init; }

    /// <summary>Level from which on activations are kept nevertheless.</summary>
    public int KeptDepth { get; init; } = int.MaxValue;

    /// <summary>Whether the CPU's memory that the forward pass took and needs no more is given back before gradients come.</summary>
    public bool ReturnUnusedMemory { get; init; }

    /// <summary>Whether weights are moved while the gradient goes back; with Adafactor and one batch per step alone.</summary>
    public bool UpdateInBackward { get; init; }
    public int SpatialFrameChunk { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public SpatialPrecision SpatialPrecision { get; init; }

    /// <summary>Whether a batch of the largest shape goes through the network and back before the first step; null: on a GPU.</summary>
    [JsonIgnore]
    public bool? TriesLargestBatch { get; init; }

    public long Seed { get; init; }

    /// <summary>Null writes no events.</summary>
    public string? TensorBoardFolder { get; init; }

    /// <summary>Null keeps no checkpoints.</summary>
    public CheckpointSettings? Checkpoints { get; init; }

    /// <summary>The rate that a step is made with.</summary>
    /// <param name="step">1 to <see cref="Steps"/>.</param>
    public double LearningRateAt(int step)
    {
        double warmup = Math.Min(1, (double)step / Math.Max(1, WarmupSteps)), done = (step - 1.0) / Steps;
        return LearningRate * LearningRateSchedule switch
        {
            LearningRateSchedule.Constant => warmup,
            LearningRateSchedule.Linear => warmup * (1 - done),
            LearningRateSchedule.Polynomial => warmup * Math.Pow(1 - done, 2),
            LearningRateSchedule.OneCycle => OneCycle(step - 1, Math.Max(0, 0.3 * Steps - 1)),
            _ => warmup * HalfCosine(1, 0, done),
        };
    }

    /// <param name="step">Counted from 0.</param>
    /// <param name="peak">The step, not always a whole one, of the highest rate.</param>
    private double OneCycle(int step, double peak) => step < peak
        ? HalfCosine(1.0 / 25, 1, step / peak)
        : HalfCosine(1, 1.0 / 250_000, (step - peak) / Math.Max(1, Steps - 1 - peak));

    private static double HalfCosine(double from, double to, double share) => to + (from - to) * 0.5 * (1 + Math.Cos(Math.PI * share));
}

/// <summary>The LoRA that is trained in place of weights.</summary>
/// <param name="Part">Where it is.</param>
/// <param name="Rank">Of each pair of matrices.</param>
/// <param name="Alpha">Each pair counts alpha / rank times.</param>
internal sealed record LoraSettings(TrainedPart Part, int Rank, double Alpha)
{
    /// <summary>Whether frames are images, which the temporal layers are not given.</summary>
    [JsonIgnore] public bool OfImages => Part == TrainedPart.SpatialLora;
}

/// <summary>Where, when and how many checkpoints are kept.</summary>
internal sealed record CheckpointSettings
{
    public required string Folder { get; init; }
    public int Every { get; init; } = 500;
    public double Minutes { get; init; }
    public int Kept { get; init; } = 3;
    public bool Resume { get; init; }
}
