using System.Reflection;
using Microsoft.ML.Mobius.Sampling;

namespace Microsoft.ML.Mobius.Tests.Pipeline;

/// <summary>Which test shows that an option of the trainer does what it says; an option without one fails here.</summary>
[TestClass]
public sealed class EveryOptionTests
{
    private const string Formula = "TrainingFormulaTests.Run_WithTheOption_FollowsTheFormula", AllAtOnce = "TextToVideoTrainerTests.Constructor_ManyBadOptions_NamesThemAllAtOnce";

    private static readonly Dictionary<string, string[]> s_tests = new()
    {
        ["OutputColumnName"] = ["TextToVideoTrainerTests.Constructor_OptionsChangedAfterwards_KeepsItsOwn"],
        ["InputColumnName"] = ["TextToVideoTrainerTests.Fit_ColumnMissingOrOfAnotherType_SaysSoBeforeAnyWork"],
        ["ClipColumnName"] = ["TextToVideoTrainerTests.Fit_Paths_DecodesEachFileOnce"],
        ["NegativePromptColumnName"] = ["TextToVideoTransformerTests.Transform_SeedAndNegativeColumns_Count"],
        ["SeedColumnName"] = ["TextToVideoTransformerTests.Transform_SeedAndNegativeColumns_Count"],
        ["SourceColumnName"] = ["TextToVideoTransformerTests.Transform_SourceColumn_CountsWhereTheOptionsAskForIt"],
        ["NegativePrompt"] = ["EveryOptionTests.Generating_OptionsOfTheTrainer_AreTheTransformers"],
        ["ModelPath"] = ["ModelFolderTests.Trainer_PretrainedModel_TellsWhatWasLoadedAndTakesItsSize"],
        ["TokenizerPath"] = ["LdmCheckpointTests.Open_NoTokenizer_SaysHowToGiveOne"],
        ["Layout"] = ["TextToVideoTrainerTests.Fit_EachLayout_Generates"],
        ["TemporalWidthDivisor"] = ["TextToVideoTrainerTests.Fit_EachLayout_Generates", "TrainingFootprintTests.Parameters_AreThoseOfTheNetwork"],
        ["JoinedLevels"] = ["StreamParallelUNetTests.Forward_Joined_IsTheSumOfStreamsThenSerial", "TrainingFootprintTests.Parameters_AreThoseOfTheNetwork"],
        ["TrainJoinedLevels"] = ["StreamParallelUNetTests.Backward_JoinedLevelsTrained_MovesCopiesAndLeavesTheImageModel", "TrainingFootprintTests.Parameters_AreThoseOfTheNetwork"],
        ["Lateral"] = ["TextToVideoTrainerTests.Fit_EachLayout_Generates", "TrainingFootprintTests.Parameters_AreThoseOfTheNetwork"],
        ["Resampling"] = ["StreamParallelUNetTests.Forward_Pooling_HasNoResamplingOfItsOwn", "TrainingFootprintTests.Parameters_AreThoseOfTheNetwork"],
        ["TemporalText"] = ["TextToVideoTrainerTests.Fit_EachLayout_Generates", "TrainingFootprintTests.Parameters_AreThoseOfTheNetwork"],
        ["FramePositions"] = ["TextToVideoTrainerTests.Fit_EachLayout_Generates"],
        ["MotionModulePath"] = ["LoraTests.Fit_MotionModules_TrainsAndSavesThem"],
        ["Loras"] = ["LoraTests.Fit_WithLoras_StartsFromTheMergedModel"],
        ["TrainedPart"] = [Formula, "LoraTrainingTests.Run_Lora_MovesItsLayersAloneAndItsFileGivesTheSameNetwork"],
        ["LoraRank"] = [Formula, "LoraTrainingTests.Fit_TemporalLora_StartsFromAVideoModelAndIsWrittenAsAFile"],
        ["LoraAlpha"] = [Formula, "LoraTrainingTests.Fit_TemporalLora_StartsFromAVideoModelAndIsWrittenAsAFile"],
        ["FrameCount"] = ["TextToVideoTrainerTests.Read_LongVideo_GivesItsFirstFrames"],
        ["Height"] = ["TextToVideoTrainerTests.Fit_ClipOfAnotherSize_NamesRowAndBothSizes"],
        ["Width"] = ["TextToVideoTrainerTests.Fit_ClipOfAnotherSize_NamesRowAndBothSizes"],
        ["FrameRate"] = ["TrainingRowsTests.Read_WindowsOfAFile_FollowEachOther"],
        ["ShortClip"] = ["TextToVideoTrainerTests.Read_ShortVideo_IsContinued", "TextToVideoTrainerTests.Read_ShortVideoRefused_Throws"],
        ["FrameBuckets"] = ["TrainingRowsTests.Read_FrameBuckets_GivePicturesOneFrameAndVideosTheLongestTheyFill", "TrainingDataTests.Run_ClipsOfSeveralShapes_TrainsAndMeasures"],
        ["AspectRatioBuckets"] = ["TrainingRowsTests.Read_AspectRatioBuckets_KeepTheShapeOfEachFile"],
        ["FrameStride"] = ["TrainingRowsTests.Read_FrameStride_TakesEveryNthFrameWhateverItsTime"],
        ["Windows"] = ["TrainingRowsTests.Read_Windows_BeginWhereTheyShould", "TrainingDataTests.Split_RowsOfSeveralClips_StayTogether"],
        ["WindowStride"] = ["TrainingRowsTests.Read_Windows_BeginWhereTheyShould"],
        ["Mirror"] = ["TrainingRowsTests.Read_Mirror_GivesEachClipTwice"],
        ["RandomCrop"] = ["TrainingRowsTests.Read_RandomCrop_IsChosenByTheFile"],
        ["BrokenClips"] = ["TrainingRowsTests.Read_BrokenClipsSkipped_AreNamedAndCounted"],
        ["ClipSeconds"] = ["TrainingRowsTests.Read_DecoderThatStalls_IsStopped"],
        ["CacheFolder"] = ["TrainingRowsTests.Read_SecondTime_TakesLatentsFromTheCache", "LoraTrainingTests.Fit_SecondStart_NeedsNoTextEncoder"],
        ["Steps"] = ["TextToVideoTrainerTests.Fit_ZeroSteps_NeedsNoClips", "TextToVideoTrainerTests.Fit_VideoColumn_TrainsAndReports"],
        ["BatchSize"] = [Formula],
        ["GradientAccumulationSteps"] = [Formula, "TrainingLoopTests.Run_GradientAccumulation_TakesSoManyBatchesPerStep"],
        ["RecomputeActivations"] = ["TrainingLoopTests.Run_Recomputed_GivesTheSameHistoryBitForBit", "MemoryEstimateTests.EstimateMemory_UnlessTold_RecomputesWhereItSavesMuchAndCostsLittle"],
        ["SpatialFrameChunk"] = ["TrainingLoopTests.Run_SpatialFrameChunk_GivesTheSameHistory"],
        ["SpatialPrecision"] = ["SpatialPrecisionTests.Run_InSixteenBits_TrainsBesideRoundedWeights", "TrainingFootprintTests.Narrow_IsWhatNoGradientCrosses"],
        ["AllowTf32"] = ["Tf32Tests.Allow_OnAGpu_LastsUntilDisposed", "Tf32Tests.Fit_OnTheCpu_IsTheSameBitForBit"],
        ["MemoryBudget"] = ["MemoryBudgetTests.MemoryBudget_BelowThat_RecomputesInAnyLayout", "MemoryBudgetTests.Fit_OverTheBudget_IsRefusedBeforeTheModelIsOpenedAndSaysWhatFits"],
        ["Optimizer"] = ["AdafactorOptimizerTests.Step_AnyShape_IsThatOfThePaper"],
        ["UpdateInBackward"] = ["UpdateInBackwardTests.Run_BatchOfOne_IsTheUsualRunBitForBit", "UpdateInBackwardTests.Run_LargerBatch_DiffersByRoundingAlone"],
        ["LearningRate"] = [Formula],
        ["LearningRateSchedule"] = [Formula, "TrainingSettingsTests.LearningRateAt_Schedule_FollowsTheFormula", "TrainingSettingsTests.LearningRateAt_OneCycle_RisesToThePeakAndFalls"],
        ["WeightDecay"] = [Formula],
        ["WarmupSteps"] = [Formula, "TrainingSettingsTests.LearningRateAt_Steps_WarmsUpAndFalls"],
        ["PredictionType"] = [Formula, "LoraTrainingTests.Fit_PredictionTypeAndZeroTerminalSnr_AreSavedWithTheModel"],
        ["ZeroTerminalSnr"] = [Formula, "NoiseScheduleTests.AlphaBar_ZeroTerminalSnr_IsRoundedAsThatOfPublishedModels"],
        ["LossWeighting"] = [Formula, "NoiseScheduleTests.Weights_OfEachPrediction_WeighTheSameError"],
        ["OffsetNoise"] = [Formula],
        ["FrameNoiseCorrelation"] = [Formula, "NoiseScheduleTests.Prior_FrameCorrelation_IsThatOfAnyTwoFrames"],
        ["InputPerturbation"] = [Formula],
        ["CaptionDropout"] = [Formula],
        ["ImageShare"] = [Formula],
        ["MaxGradientNorm"] = [Formula],
        ["NonFiniteStep"] = ["TrainingLoopTests.Run_StepNotFinite_IsSkippedIfAllowed", "TrainingLoopTests.Run_WeightsNotFinite_NamesStepAndClips"],
        ["EmaDecay"] = [Formula, "WeightAverageTests.Add_ThreeSteps_FollowsTheFormula"],
        ["HeldOutFraction"] = ["TrainingDataTests.Split_RowsOfSeveralClips_StayTogether"],
        ["EvaluateEvery"] = ["TrainingLoopTests.Run_SameSeed_GivesTheSameHistoryBitForBit"],
        ["EarlyStopping"] = ["TrainingLoopTests.Run_HeldOutLossThatDoesNotFall_StopsEarlyIfAskedTo"],
        ["TrainingFolder"] = ["TrainingPicturesTests.Fit_TrainingFolder_GetsEverything"],
        ["SanityFolder"] = ["TrainingPicturesTests.Fit_TrainingFolder_GetsEverything"],
        ["SampleFolder"] = ["TrainingPicturesTests.Fit_TrainingFolder_GetsEverything"],
        ["SampleEvery"] = ["TrainingPicturesTests.Fit_TrainingFolder_GetsEverything"],
        ["SamplePrompts"] = ["TrainingPicturesTests.Fit_TrainingFolder_GetsEverything"],
        ["TensorBoardFolder"] = ["EventFileTests.Run_WithAFolder_WritesWhatTheHistoryHas"],
        ["LogFile"] = ["TrainingPicturesTests.Fit_TrainingFolder_GetsEverything"],
        ["CheckpointFolder"] = ["CheckpointsTests.Run_StoppedAndResumed_IsTheUninterruptedRunBitForBit", "LoraTrainingTests.Fit_FolderInUse_IsRefusedWhileTheOtherRunGoesOn"],
        ["CheckpointEvery"] = ["CheckpointsTests.IsDue_StepsAndMinutes_EitherIsEnough"],
        ["CheckpointMinutes"] = ["CheckpointsTests.IsDue_StepsAndMinutes_EitherIsEnough"],
        ["CheckpointsKept"] = ["CheckpointsTests.Run_ManyCheckpoints_KeepsTheNewest"],
        ["Resume"] = ["TextToVideoTrainerTests.Fit_StoppedAndResumed_GivesTheModelOfAnUninterruptedRun"],
        ["SamplingSteps"] = ["EveryOptionTests.Generating_OptionsOfTheTrainer_AreTheTransformers"],
        ["Sampler"] = ["TextToVideoSamplerTests.Generate_EverySampler_GivesItsOwnClipAndTellsItsCalls", "EveryOptionTests.Generating_OptionsOfTheTrainer_AreTheTransformers"],
        ["GuidanceScale"] = ["GuidanceTests.Guided_TwoTexts_LeadsFromTheNegativeToThePositive", "EveryOptionTests.Generating_OptionsOfTheTrainer_AreTheTransformers"],
        ["GuidanceRescale"] = ["GuidanceTests.Guided_Rescaled_HasTheDeviationOfThePositiveOne", "EveryOptionTests.Generating_OptionsOfTheTrainer_AreTheTransformers"],
        ["Seed"] = [Formula, "TextToVideoTrainerTests.Fit_SameSeed_GivesTheSameModel"],
        ["Progress"] = ["TextToVideoTrainerTests.Fit_VideoColumn_TrainsAndReports"],
        ["CancellationToken"] = ["TextToVideoTrainerTests.Fit_TokenCancelled_Stops"],
    };

    [TestMethod]
    public void Options_All_HaveATest()
    {
        string[] options = [.. typeof(TextToVideoTrainer.Options).GetProperties(BindingFlags.Instance | BindingFlags.Public).Select(option => option.Name)];
        CollectionAssert.AreEquivalent(options, s_tests.Keys.ToArray());
    }

    [TestMethod]
    public void Tests_Named_AreThere()
    {
        var tests = (from type in typeof(EveryOptionTests).Assembly.GetTypes()
                     from method in type.GetMethods()
                     where method.GetCustomAttribute<TestMethodAttribute>() is not null
                     select $"{type.Name}.{method.Name}").ToHashSet();
        Assert.IsEmpty(s_tests.SelectMany(option => option.Value).Append(AllAtOnce).Where(test => !tests.Contains(test)));
    }

    [TestMethod]
    public void Generating_OptionsOfTheTrainer_AreTheTransformers()
    {
        using var transformer = new TinyPipeline().Untrained(options =>
        {
            (options.NegativePrompt, options.SamplingSteps, options.Sampler) = ("dull", 3, SamplerKind.UniPc);
            (options.GuidanceScale, options.GuidanceRescale, options.FrameRate) = (2, 0.5, 12);
        });
        var made = transformer.Generation;
        Assert.AreEqual(("dull", 3, SamplerKind.UniPc), (made.NegativePrompt, made.SamplingSteps, made.Sampler!.Value));
        Assert.AreEqual((2.0, 0.5, 12.0), (made.GuidanceScale, made.GuidanceRescale, made.FrameRate));
    }
}
