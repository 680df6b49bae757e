using System.Globalization;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.GoldenCases;

/// <summary>What the comparisons of one case found.</summary>
internal sealed class Findings
{
    private readonly List<string> _failures = [];
    private readonly List<string> _notYet = [];
    private readonly List<string> _leftOut = [];
    private int _compared;

    /// <summary>The largest difference of any comparison, each relative to its largest expected value.</summary>
    public double Worst { get; private set; }

    public IReadOnlyList<string> Failures => _failures;

    /// <summary>What the product lacks.</summary>
    public IReadOnlyList<string> Lacking => _notYet;

    public string Status => _failures.Count > 0 || (_compared == 0 && _notYet.Count == 0) ? "fail" : _notYet.Count > 0 ? "not yet" : "pass";

    /// <summary>Every element within <paramref name="tolerance"/>.</summary>
    public void Within(string what, Tensor expected, Tensor actual, double tolerance)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        if (!expected.shape.AsSpan().SequenceEqual(actual.shape))
        {
            Fail($"{what} is [{string.Join(", ", actual.shape)}] instead of [{string.Join(", ", expected.shape)}]");
            return;
        }
        Compare(what, Close.Apart(expected, actual), tolerance, expected.abs().max().item<float>());
    }

    /// <summary>Every element within <paramref name="tolerance"/> of the largest one.</summary>
    public void WithinOfLargest(string what, Tensor expected, Tensor actual, double tolerance)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        Within(what, expected, actual, tolerance * expected.abs().max().item<float>());
    }

    /// <summary>Within <paramref name="tolerance"/> of the expected number.</summary>
    public void Within(string what, double expected, double actual, double tolerance)
        => Compare(what, Math.Abs(expected - actual), tolerance * Math.Abs(expected), Math.Abs(expected));

    public void Holds(string what, bool holds)
    {
        _compared++;
        if (!holds)
            _failures.Add(what);
    }

    public void Fail(string what) => Holds(what, false);

    /// <summary>Notes what the product cannot do for the time being: the case is neither passed nor failed.</summary>
    public void NotYet(string what)
    {
        if (!_notYet.Contains(what))
            _notYet.Add(what);
    }

    /// <summary>Notes what the product has no use for.</summary>
    public void LeaveOut(string what) => _leftOut.Add(what);

    /// <summary>The line of a case: name, worst relative error, status, and what there is to say.</summary>
    public string Line(string name)
    {
        string[] remarks =
        [
            .. _failures.Count > 0 ? [$"{_failures[0]}{(_failures.Count > 1 ? $" (and {_failures.Count - 1} more)" : "")}"] : Array.Empty<string>(),
            .. _notYet.Count > 0 ? [$"lacking {string.Join(", ", _notYet)}; {_compared} comparisons {(_failures.Count == 0 ? "hold" : "made")}"] : Array.Empty<string>(),
            .. _leftOut.Count > 0 ? [$"left out {string.Join(", ", _leftOut)}"] : Array.Empty<string>(),
        ];
        string worst = _compared == 0 ? "-" : Worst.ToString("0.0e-00", CultureInfo.InvariantCulture);
        return $"{name,-24} {worst,-8} {Status,-8} {string.Join("; ", remarks)}".TrimEnd();
    }

    private void Compare(string what, double apart, double tolerance, double largest)
    {
        _compared++;
        if (!(apart <= tolerance))
            _failures.Add(string.Create(CultureInfo.InvariantCulture, $"{what} is {apart:0.0e-00} apart, {tolerance:0.0e-00} allowed"));
        double relative = apart == 0 ? 0 : largest > 0 ? apart / largest : apart;
        if (!(relative <= Worst))
            Worst = relative;
    }
}
