using Microsoft.ML.Mobius.Text;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Text;

[TestClass]
public sealed class ClipTextModelTests
{
    private static readonly ClipTextConfig Tiny = new()
    {
        VocabSize = 50, HiddenSize = 16, IntermediateSize = 32, NumHiddenLayers = 2, NumAttentionHeads = 2, MaxPositionEmbeddings = 9,
    };

    [TestMethod]
    public void Forward_VideoPipelinesPrompts_GivesTheSameEmbeddings()
    {
        string folder = Shared.PathOf("golden", "pipeline_t2v");
        using var model = Model(Path.Combine(folder, "text_encoder", "config.json"), Path.Combine(folder, "text_encoder", "model.safetensors"));
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var io = ReadAll(Path.Combine(folder, "io.safetensors"));
        var tokenizer = ClipTokenizer.FromFolder(Path.Combine(folder, "tokenizer"));
        foreach (var (prompt, ids, embeds) in new[]
        {
            ("a panda eating bamboo, highly detailed!!!", "cfg.prompt_ids", "cfg.prompt_embeds"),
            ("blurry, low quality", "cfg.negative_ids", "cfg.negative_prompt_embeds"),
        })
        {
            long[] encoded = tokenizer.Encode(prompt).Ids;
            CollectionAssert.AreEqual(io[ids].data<long>().ToArray(), encoded);
            Close(io[embeds], model.forward(tensor(encoded).unsqueeze(0)), 2e-5);
        }
        CollectionAssert.AreEqual(io["empty_ids"].data<long>().ToArray(), tokenizer.Encode("").Ids);
    }

    [TestMethod]
    public void Load_ImagePipelinesEncoder_FitsInHalf()
    {
        string folder = Shared.PathOf("golden", "pipeline_sd", "text_encoder");
        using var model = Model(Path.Combine(folder, "config.json"), Path.Combine(folder, "model.safetensors"));
        using var scope = NewDisposeScope();
        Assert.IsTrue(model.forward(zeros(1, 77, dtype: ScalarType.Int64)).isfinite().all().item<bool>());
    }

    [TestMethod]
    public void Names_OfAFreshModel_AreThoseOfTransformers()
    {
        using var model = new ClipTextModel(Tiny);
        string[] layer = [.. new[] { "self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj", "self_attn.out_proj", "layer_norm1", "mlp.fc1", "mlp.fc2", "layer_norm2" }
            .SelectMany(name => new[] { $"{name}.weight", $"{name}.bias" })];
        string[] expected = ["text_model.embeddings.token_embedding.weight", "text_model.embeddings.position_embedding.weight",
            .. Enumerable.Range(0, 2).SelectMany(i => layer.Select(name => $"text_model.encoder.layers.{i}.{name}")),
            "text_model.final_layer_norm.weight", "text_model.final_layer_norm.bias"];
        CollectionAssert.AreEqual(expected, StateDict.Of(model).Select(pair => pair.Key).ToArray());
    }

    [TestMethod]
    public void Forward_LaterTokenChanged_LeavesEarlierStates()
    {
        using var model = new ClipTextModel(Tiny);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var before = model.forward(tensor(new long[] { 1, 2, 3, 4 }).unsqueeze(0));
        var after = model.forward(tensor(new long[] { 1, 2, 3, 5 }).unsqueeze(0));
        Close(before.narrow(1, 0, 3), after.narrow(1, 0, 3), 1e-6);
        Assert.IsTrue((before - after).abs().max().item<float>() > 1e-3f);
    }

    [TestMethod]
    public void Training_FromScratch_LowersTheLoss()
    {
        manual_seed(1);
        using var model = new ClipTextModel(Tiny);
        using var optimizer = optim.AdamW(model.parameters(), 2e-2);
        using var scope = NewDisposeScope();
        var ids = randint(0, 50, new long[] { 4, 9 }, ScalarType.Int64);
        var wanted = randn(4, 9, 16);
        var losses = new List<float>();
        for (int step = 0; step < 12; step++)
        {
            using var stepScope = NewDisposeScope();
            var loss = nn.functional.mse_loss(model.forward(ids), wanted);
            optimizer.zero_grad();
            loss.backward();
            optimizer.step();
            losses.Add(loss.item<float>());
        }
        Assert.IsLessThan(0.8f * losses[0], losses[^1]);
        Assert.IsTrue(model.parameters().All(parameter => parameter.grad is not null));
    }

    [TestMethod]
    public void Forward_Twice_LeavesNoTensorBehind()
    {
        using var model = new ClipTextModel(Tiny);
        using var noGrad = no_grad();
        using var ids = ones(1, 5, dtype: ScalarType.Int64);
        model.forward(ids).Dispose();
        long before = Tensor.TotalCount;
        model.forward(ids).Dispose();
        Assert.AreEqual(before, Tensor.TotalCount);
    }

    [TestMethod]
    public void Forward_TooManyTokens_SaysHowMany()
    {
        using var model = new ClipTextModel(Tiny);
        using var ids = ones(1, 10, dtype: ScalarType.Int64);
        StringAssert.Contains(Assert.ThrowsExactly<ArgumentException>(() => model.forward(ids)).Message, "[1, 10]");
    }

    private static ClipTextModel Model(string config, string weights)
    {
        var model = new ClipTextModel(ClipTextConfig.Parse(File.ReadAllText(config)));
        using var scope = NewDisposeScope();
        model.Load(ReadAll(weights), weights);
        model.eval();
        return model;
    }

    private static IReadOnlyDictionary<string, Tensor> ReadAll(string path)
    {
        using var stream = File.OpenRead(path);
        return Safetensors.Read(stream, ScalarType.Float32);
    }

    private static void Close(Tensor expected, Tensor actual, double tolerance)
    {
        CollectionAssert.AreEqual(expected.shape, actual.shape);
        Assert.IsLessThan(tolerance, (expected - actual).abs().max().item<float>());
    }
}
