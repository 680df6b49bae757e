using Microsoft.ML.Mobius.Autoencoder;
using Microsoft.ML.Mobius.UNet;

namespace Microsoft.ML.Mobius.Models;

/// <summary>
/// The names in which CompVis' latent-diffusion code stores Stable Diffusion 1.x, as tables of prefixes: theirs, and diffusers', which are ours. Their U-Net
/// counts its blocks through all levels; a halving or a doubling is a block, or the end of one.
/// </summary>
internal sealed class LdmNames
{
    public const string UNetPrefix = "model.diffusion_model.", AutoencoderPrefix = "first_stage_model.", TextPrefix = "cond_stage_model.transformer.";

    private static readonly (string Theirs, string Ours)[] s_unetResnet =
    [
        (".in_layers.0", ".norm1"), (".in_layers.2", ".conv1"), (".emb_layers.1", ".time_emb_proj"), (".out_layers.0", ".norm2"), (".out_layers.3", ".conv2"),
        (".skip_connection", ".conv_shortcut"),
    ];

    private static readonly (string Theirs, string Ours)[] s_resnet =
        [(".norm1", ".norm1"), (".conv1", ".conv1"), (".norm2", ".norm2"), (".conv2", ".conv2"), (".nin_shortcut", ".conv_shortcut")];

    private static readonly (string Theirs, string Ours)[] s_attention =
        [(".norm", ".group_norm"), (".q", ".to_q"), (".k", ".to_k"), (".v", ".to_v"), (".proj_out", ".to_out.0")];

    private readonly Dictionary<string, string> _ours;

    private LdmNames(IEnumerable<(string Theirs, string Ours)> table) => _ours = table.ToDictionary(pair => pair.Theirs, pair => pair.Ours);

    /// <summary>Of the U-Net; without <see cref="UNetPrefix"/>.</summary>
    public static LdmNames UNet(UNetConfig config)
    {
        var table = new List<(string, string)>
        {
            ("time_embed.0", "time_embedding.linear_1"), ("time_embed.2", "time_embedding.linear_2"), ("input_blocks.0.0", "conv_in"),
            ("middle_block.1", "mid_block.attentions.0"), ("out.0", "conv_norm_out"), ("out.2", "conv_out"),
        };
        table.AddRange(Inner("middle_block.0", "mid_block.resnets.0", s_unetResnet));
        table.AddRange(Inner("middle_block.2", "mid_block.resnets.1", s_unetResnet));
        int last = config.LevelCount - 1;
        for (int k = 0, block = 1; k <= last; k++, block++)
        {
            for (int i = 0; i < config.LayersPerBlock; i++, block++)
            {
                table.AddRange(Inner($"input_blocks.{block}.0", $"down_blocks.{k}.resnets.{i}", s_unetResnet));
                table.Add(($"input_blocks.{block}.1", $"down_blocks.{k}.attentions.{i}"));
            }
            if (k < last)
                table.Add(($"input_blocks.{block}.0.op", $"down_blocks.{k}.downsamplers.0.conv"));
        }
        for (int k = 0, block = 0; k <= last; k++)
            for (int i = 0; i <= config.LayersPerBlock; i++, block++)
            {
                table.AddRange(Inner($"output_blocks.{block}.0", $"up_blocks.{k}.resnets.{i}", s_unetResnet));
                if (config.HasAttentionUp(k))
                    table.Add(($"output_blocks.{block}.1", $"up_blocks.{k}.attentions.{i}"));
                if (k < last && i == config.LayersPerBlock)
                    table.Add(($"output_blocks.{block}.{(config.HasAttentionUp(k) ? 2 : 1)}.conv", $"up_blocks.{k}.upsamplers.0.conv"));
            }
        return new LdmNames(table);
    }

    /// <summary>Of the autoencoder; without <see cref="AutoencoderPrefix"/>.</summary>
    public static LdmNames Autoencoder(AutoencoderKlConfig config)
    {
        var table = new List<(string, string)> { ("quant_conv", "quant_conv"), ("post_quant_conv", "post_quant_conv") };
        foreach (string half in new[] { "encoder", "decoder" })
        {
            foreach (var (theirs, ours) in new[] { ("conv_in", "conv_in"), ("norm_out", "conv_norm_out"), ("conv_out", "conv_out") })
                table.Add(($"{half}.{theirs}", $"{half}.{ours}"));
            table.AddRange(Inner($"{half}.mid.block_1", $"{half}.mid_block.resnets.0", s_resnet));
            table.AddRange(Inner($"{half}.mid.attn_1", $"{half}.mid_block.attentions.0", s_attention));
            table.AddRange(Inner($"{half}.mid.block_2", $"{half}.mid_block.resnets.1", s_resnet));
        }
        int last = config.BlockOutChannels.Count - 1;
        for (int k = 0; k <= last; k++)
        {
            for (int i = 0; i <= config.LayersPerBlock; i++)
            {
                table.AddRange(Inner($"encoder.down.{k}.block.{i}", $"encoder.down_blocks.{k}.resnets.{i}", s_resnet));
                table.AddRange(Inner($"decoder.up.{last - k}.block.{i}", $"decoder.up_blocks.{k}.resnets.{i}", s_resnet));
            }
            table.Add(($"encoder.down.{k}.downsample.conv", $"encoder.down_blocks.{k}.downsamplers.0.conv"));
            table.Add(($"decoder.up.{last - k}.upsample.conv", $"decoder.up_blocks.{k}.upsamplers.0.conv"));
        }
        return new LdmNames(table);
    }

    /// <summary>Our name of theirs; a name that is in no table stays, for strict loading to complain of.</summary>
    public string Ours(string theirs)
    {
        for (int dot = theirs.LastIndexOf('.'); dot > 0; dot = theirs.LastIndexOf('.', dot - 1))
            if (_ours.TryGetValue(theirs[..dot], out string? ours))
                return ours + theirs[dot..];
        return theirs;
    }

    private static IEnumerable<(string, string)> Inner(string theirs, string ours, (string Theirs, string Ours)[] table)
        => table.Select(pair => (theirs + pair.Theirs, ours + pair.Ours));
}
