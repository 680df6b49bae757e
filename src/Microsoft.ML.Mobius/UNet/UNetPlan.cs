namespace Microsoft.ML.Mobius.UNet;

/// <summary>
/// One level of a U-Net: its width, what comes into each of its layers (skips included), and what follows them.
/// </summary>
/// <param name="Depth">Its number from the outside, where the outermost is 0; the middle block's is that of the innermost.</param>
/// <param name="Channels">C.</param>
/// <param name="InChannels">Channels into each layer; up layers have the joined skip counted in.</param>
/// <param name="SkipChannels">Of these, the channels of the skip; 0 in down and middle layers.</param>
/// <param name="AttentionCount">Layers with attention: all, none, or in the middle block the first.</param>
/// <param name="Heads">Heads of each attention.</param>
/// <param name="Downsamples">Whether a halving follows.</param>
/// <param name="Upsamples">Whether a doubling follows.</param>
internal sealed record LevelPlan(
    int Depth, int Channels, IReadOnlyList<int> InChannels, IReadOnlyList<int> SkipChannels, int AttentionCount, int Heads,
    bool Downsamples, bool Upsamples)
{
    /// <summary>The middle block has one layer more than attentions.</summary>
    public bool IsMiddle => AttentionCount > 0 && AttentionCount < InChannels.Count;
}

/// <summary>The widths of all levels, in the order the data meets them: the one place that counts skips.</summary>
internal sealed class UNetPlan
{
    public IReadOnlyList<LevelPlan> Down { get; }

    public LevelPlan Mid { get; }

    public IReadOnlyList<LevelPlan> Up { get; }

    public UNetPlan(UNetConfig config)
    {
        config.Validate();
        var channels = config.BlockOutChannels;
        int last = channels.Count - 1;

        var skips = new Stack<int>([channels[0]]);
        var down = new List<LevelPlan>();
        for (int k = 0; k <= last; k++)
        {
            int before = k == 0 ? channels[0] : channels[k - 1];
            int[] inputs = [.. Enumerable.Range(0, config.LayersPerBlock).Select(i => i == 0 ? before : channels[k])];
            int attentions = config.HasAttentionDown(k) ? inputs.Length : 0;
            down.Add(new LevelPlan(k, channels[k], inputs, new int[inputs.Length], attentions, config.Heads(k), k < last, false));
            for (int i = 0; i < config.LayersPerBlock + (k < last ? 1 : 0); i++)
                skips.Push(channels[k]);
        }
        Down = down;
        Mid = new LevelPlan(last, channels[last], [channels[last], channels[last]], [0, 0], 1, config.Heads(last), false, false);

        var up = new List<LevelPlan>();
        int width = channels[last];
        for (int k = 0; k <= last; k++)
        {
            int[] joined = [.. Enumerable.Range(0, config.LayersPerBlock + 1).Select(_ => skips.Pop())];
            int[] inputs = [.. joined.Select((skip, i) => (i == 0 ? width : channels[last - k]) + skip)];
            width = channels[last - k];
            int attentions = config.HasAttentionUp(k) ? inputs.Length : 0;
            up.Add(new LevelPlan(last - k, width, inputs, joined, attentions, config.Heads(last - k), false, k < last));
        }
        Up = up;
    }

    /// <summary>Channels where two streams become one before an up level: of the stream, then of the skips that its layers and all after it take.</summary>
    /// <param name="from">Number of the up level.</param>
    public IEnumerable<int> JoinedChannels(int from)
        => Up.Skip(from).SelectMany(level => level.SkipChannels).Prepend(from == 0 ? Mid.Channels : Up[from - 1].Channels);
}
