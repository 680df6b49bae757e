using Microsoft.ML.Mobius.Training;

namespace Microsoft.ML.Mobius.Tests.Training;

[TestClass]
public sealed class TrainingSettingsTests
{
    [TestMethod]
    public void LearningRateAt_Steps_WarmsUpAndFalls()
    {
        var settings = new TrainingSettings { Steps = 100, WarmupSteps = 10, LearningRate = 2 };
        Assert.AreEqual(0.2, settings.LearningRateAt(1), 1e-12);
        Assert.AreEqual(2 * 0.5 * (1 + Math.Cos(Math.PI * 0.09)), settings.LearningRateAt(10), 1e-12);
        Assert.AreEqual(1, settings.LearningRateAt(51), 1e-12);
        Assert.IsTrue(settings.LearningRateAt(100) is > 0 and < 0.001);
    }

    [TestMethod]
    [DataRow(LearningRateSchedule.Constant, 0.5, 2, 2, 2)]
    [DataRow(LearningRateSchedule.Linear, 0.49, 2 * 0.9, 2 * 0.5, 2 * 0.01)]
    [DataRow(LearningRateSchedule.Polynomial, 0.5 * 0.98 * 0.98, 2 * 0.81, 2 * 0.25, 2 * 0.0001)]
    public void LearningRateAt_Schedule_FollowsTheFormula(LearningRateSchedule schedule, double third, double eleventh, double middle, double last)
    {
        var settings = new TrainingSettings { Steps = 100, WarmupSteps = 12, LearningRate = 2, LearningRateSchedule = schedule };
        Assert.AreEqual(third, settings.LearningRateAt(3), 1e-12);
        Assert.AreEqual(eleventh, (settings with { WarmupSteps = 0 }).LearningRateAt(11), 1e-12);
        Assert.AreEqual(middle, settings.LearningRateAt(51), 1e-12);
        Assert.AreEqual(last, settings.LearningRateAt(100), 1e-12);
    }

    [TestMethod]
    public void LearningRateAt_OneCycle_RisesToThePeakAndFalls()
    {
        var settings = new TrainingSettings { Steps = 100, WarmupSteps = 50, LearningRate = 2, LearningRateSchedule = LearningRateSchedule.OneCycle };
        Assert.AreEqual(2 / 25.0, settings.LearningRateAt(1), 1e-12);
        Assert.AreEqual(2, settings.LearningRateAt(30), 1e-12);
        Assert.AreEqual(2 / 250_000.0, settings.LearningRateAt(100), 1e-12);
        for (int step = 2; step <= 100; step++)
            Assert.AreEqual(step <= 30, settings.LearningRateAt(step) > settings.LearningRateAt(step - 1), $"step {step}");
        Assert.AreEqual(2, (settings with { Steps = 1 }).LearningRateAt(1), 1e-12);
    }
}
