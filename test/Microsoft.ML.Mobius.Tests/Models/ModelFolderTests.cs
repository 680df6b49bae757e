using System.Text.Json.Nodes;
using Microsoft.ML.Mobius.Files;
using Microsoft.ML.Mobius.Models;
using Microsoft.ML.Mobius.UNet;
using Microsoft.ML.Mobius.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Microsoft.ML.Mobius.Tests.Models;

[TestClass]
public sealed class ModelFolderTests
{
    private readonly ModelFolders _folders = new();

    [TestCleanup]
    public void RemoveFolders() => _folders.Dispose();

    [TestMethod]
    public void Open_ImageModel_IsTheFrozenHalfOfANewVideoModel()
    {
        using var model = ModelFolders.Open(_folders.Image());
        var image = Tiny.Image();
        using var scope = NewDisposeScope();
        foreach (var (expected, actual) in image.UNet.parameters().Zip(model.UNet.Spatial.parameters()))
            Close.Assert(expected.to(ScalarType.Float16).to(ScalarType.Float32), actual, 0);
        Assert.AreEqual(UNetLayout.StreamParallel, model.UNet.Config.Layout);
        Assert.IsTrue(model.UNet.Config.TemporalText);
        var temporal = model.Loaded.Single(part => part.Name == "unet.temporal");
        Assert.AreEqual((0, model.TrainedParameterCount, 0), (temporal.Loaded.Tensors, temporal.New.Parameters, temporal.LeftOut.Tensors));
        Assert.AreEqual(model.ParameterCount, model.Loaded.Sum(part => part.Loaded.Parameters + part.New.Parameters));
        ModelFolders.Free(image);
    }

    [TestMethod]
    public void Open_FullFileAndHalf_TakesTheFullOne()
    {
        string folder = _folders.Image();
        string full = Path.Combine(folder, "vae/diffusion_pytorch_model.safetensors"), half = Path.Combine(folder, "vae/diffusion_pytorch_model.fp16.safetensors");
        File.Copy(full, half);
        using (var stream = File.Create(half))
            stream.Write("broken"u8);
        ModelFolders.Open(folder).Dispose();

        File.Move(full, half, overwrite: true);
        ModelFolders.Open(folder).Dispose();

        File.Delete(half);
        Assert.Contains("vae/diffusion_pytorch_model.safetensors", Assert.ThrowsExactly<FileNotFoundException>(() => ModelFolders.Open(folder)).Message);
    }

    [TestMethod]
    public void Open_OldAttentionNamesAndPositionIds_AreUnderstood()
    {
        string folder = _folders.Video();
        using var model = ModelFolders.Open(folder);
        (string New, string Old)[] names = [("to_q.", "query."), ("to_k.", "key."), ("to_v.", "value."), ("to_out.0.", "proj_attn.")];
        Rewrite(Path.Combine(folder, "vae/diffusion_pytorch_model.safetensors"), weights => weights.Select(weight =>
            KeyValuePair.Create(names.Aggregate(weight.Key, (name, pair) => name.Replace(pair.New, pair.Old)), weight.Value)));
        Rewrite(Path.Combine(folder, "text_encoder/model.safetensors"), weights => weights.Append(
            KeyValuePair.Create("text_model.embeddings.position_ids", arange(77).unsqueeze(0))));

        using var again = ModelFolders.Open(folder);

        ModelFolders.AssertSame(model, again);
        Assert.AreEqual(new TensorCount(1, 77), again.Loaded.Single(part => part.Name == "text_encoder").LeftOut);
    }

    [TestMethod]
    [DataRow("model_index.json")]
    [DataRow("unet/config.json")]
    [DataRow("vae/config.json")]
    [DataRow("text_encoder/config.json")]
    [DataRow("scheduler/scheduler_config.json")]
    [DataRow("tokenizer/vocab.json", "vocab.json")]
    [DataRow("tokenizer/merges.txt", "merges.txt")]
    [DataRow("text_encoder/model.safetensors")]
    [DataRow("unet/diffusion_pytorch_model.safetensors")]
    public void Open_FileMissing_NamesIt(string file, string? named = null)
    {
        string folder = _folders.Video();
        File.Delete(Path.Combine(folder, file));
        Assert.Contains(named ?? file, Assert.ThrowsExactly<FileNotFoundException>(() => ModelFolders.Open(folder)).Message);
    }

    [TestMethod]
    [DataRow("model_index.json", "_class_name", "\"StableDiffusionXLPipeline\"", "StableDiffusionXLPipeline")]
    [DataRow("model_index.json", "_class_name", "null", "_class_name")]
    [DataRow("model_index.json", "unet", "[\"diffusers\", \"UNetMotionModel\"]", "UNetMotionModel")]
    [DataRow("model_index.json", "text_encoder", "[\"transformers\", \"T5EncoderModel\"]", "T5EncoderModel")]
    [DataRow("model_index.json", "vae", "7", "vae")]
    [DataRow("unet/config.json", "_class_name", "\"UNet2DConditionModel\"", "UNet2DConditionModel")]
    [DataRow("unet/config.json", "class_embed_type", "\"timestep\"", "class_embed_type")]
    [DataRow("unet/config.json", "down_block_types", "[\"AttnDownBlock2D\", \"DownBlock2D\"]", "down_block_types")]
    [DataRow("unet/config.json", "down_block_types", "[]", "down_block_types")]
    [DataRow("unet/config.json", "block_out_channels", "[16, -32]", "block_out_channels")]
    [DataRow("unet/config.json", "block_out_channels", "\"wide\"", "block_out_channels")]
    [DataRow("vae/config.json", "block_out_channels", "[8, 1.5]", "block_out_channels")]
    [DataRow("vae/config.json", "layers_per_block", "1000000", "layers_per_block")]
    [DataRow("vae/config.json", "scaling_factor", "\"much\"", "vae/config.json")]
    [DataRow("vae/config.json", "shift_factor", "0.1", "shift_factor")]
    [DataRow("text_encoder/config.json", "hidden_act", "\"relu\"", "hidden_act")]
    [DataRow("scheduler/scheduler_config.json", "prediction_type", "\"flow_prediction\"", "flow_prediction")]
    [DataRow("scheduler/scheduler_config.json", "trained_betas", "[0.1]", "trained_betas")]
    public void Open_ValueNotSupported_NamesFileAndKey(string file, string key, string value, string named)
    {
        string folder = _folders.Video();
        ModelFolders.Change(folder, file, json => json[key] = JsonNode.Parse(value));
        string message = Assert.ThrowsExactly<InvalidDataException>(() => ModelFolders.Open(folder)).Message;
        Assert.Contains(named, message);
        Assert.Contains(file, message);
    }

    [TestMethod]
    public void Open_NotJson_NamesTheFile()
    {
        string folder = _folders.Video();
        foreach (string text in new[] { "", "[]", "{\"a\": 1, \"a\": 2}", "{", "null" })
        {
            File.WriteAllText(Path.Combine(folder, "unet/config.json"), text);
            Assert.Contains("unet/config.json", Assert.ThrowsExactly<InvalidDataException>(() => ModelFolders.Open(folder)).Message, text);
        }
    }

    [TestMethod]
    [DataRow("text_encoder/config.json", "hidden_size", 1 << 15, "text_encoder/model.safetensors")]
    [DataRow("vae/config.json", "latent_channels", 60000, "vae/diffusion_pytorch_model.safetensors")]
    [DataRow("unet/config.json", "cross_attention_dim", 60000, "unet/diffusion_pytorch_model.safetensors")]
    public void Open_ConfigOfAnotherModel_ListsWhatDoesNotFitBeforeAnythingIsBuilt(string file, string key, int value, string named)
    {
        string folder = _folders.Video();
        ModelFolders.Change(folder, file, json => json[key] = value);
        long before = Memory.Resident();
        Assert.Contains(named, Assert.ThrowsExactly<WeightMismatchException>(() => ModelFolders.Open(folder)).Message);
        Assert.IsLessThan(64L << 20, Memory.Resident() - before);
    }

    [TestMethod]
    public void Open_WeightMissing_NamesFileAndWeight()
    {
        string folder = _folders.Video();
        Rewrite(Path.Combine(folder, "unet/diffusion_pytorch_model.safetensors"), weights => weights.Where(weight => weight.Key != "transformer_in.norm.bias"));
        var thrown = Assert.ThrowsExactly<WeightMismatchException>(() => ModelFolders.Open(folder));
        CollectionAssert.AreEqual(new[] { "transformer_in.norm.bias" }, thrown.Missing.ToArray());
        Assert.Contains("unet/diffusion_pytorch_model.safetensors", thrown.Message);
    }

    [TestMethod]
    public void Open_UnknownKeys_AreKept()
    {
        string folder = _folders.Image();
        foreach (string file in new[] { "unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json" })
            ModelFolders.Change(folder, file, json => json["of_tomorrow"] = new JsonArray(1, "two"));
        using var model = ModelFolders.Open(folder);
        ModelFolder.Save(model, _folders.PathOf("saved"), 3, null, null);
        foreach (string file in new[] { "unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json" })
            Assert.AreEqual("[1,\"two\"]", JsonNode.Parse(File.ReadAllText(_folders.PathOf("saved", file)))!["of_tomorrow"]!.ToJsonString(), file);
    }

    [TestMethod]
    public void Open_TwoHundredDamagedConfigs_LoadsOrRefuses() => OpenDamaged(0, 200);

    [TestMethod, TestCategory("Heavy")]
    public void Open_TenThousandDamagedConfigs_LoadsOrRefuses() => OpenDamaged(200, 10_000);

    /// <summary>Another exception than those of bad input, a hang, or memory beyond the size of the folder and 64 MB, is a failure.</summary>
    private void OpenDamaged(int first, int count)
    {
        string folder = _folders.Video();
        string[] files = [.. Directory.EnumerateFiles(folder, "*.json", SearchOption.AllDirectories).Where(file => !file.EndsWith("vocab.json")).Order()];
        long bound = (64 << 20) + Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories).Sum(file => new FileInfo(file).Length);
        ModelFolders.Open(folder).Dispose();                                              // what is loaded once is not of the first file
        int refused = 0;
        var wrong = new List<string>();
        for (int i = first; i < first + count && wrong.Count < 5; i++)
        {
            string file = files[i % files.Length];
            byte[] before = File.ReadAllBytes(file), damaged = Mutation.Of(before, new Random(i));
            File.WriteAllBytes(file, damaged);
            var clock = System.Diagnostics.Stopwatch.StartNew();
            long taken = PeakMemory.During(() =>
            {
                try
                {
                    ModelFolders.Open(folder).Dispose();
                }
                catch (Exception e) when (e is InvalidDataException or IOException or WeightMismatchException)
                {
                    refused++;
                }
                catch (Exception e)
                {
                    wrong.Add($"{i} {file}: {e}\n{System.Text.Encoding.UTF8.GetString(damaged)}");
                }
            });
            if (taken > bound)
                wrong.Add($"{i} {file}: {taken} bytes taken\n{System.Text.Encoding.UTF8.GetString(damaged)}");
            if (clock.Elapsed > TimeSpan.FromSeconds(30))
                wrong.Add($"{i} {file}: {clock.Elapsed}\n{System.Text.Encoding.UTF8.GetString(damaged)}");
            File.WriteAllBytes(file, before);
        }
        Assert.IsEmpty(wrong, string.Join('\n', wrong));
        Assert.IsTrue(refused > count / 4 && refused < count * 99 / 100, $"{refused} of {count} refused.");
        Console.WriteLine($"{count} configs, {refused} refused.");
    }

    [TestMethod]
    [DataRow(UNetLayout.Serial, false, true)]
    [DataRow(UNetLayout.Serial, true, false)]
    [DataRow(UNetLayout.LayerParallel, false, false)]
    [DataRow(UNetLayout.LayerParallel, true, false)]
    [DataRow(UNetLayout.StreamParallel, false, false)]
    [DataRow(UNetLayout.StreamParallel, true, false)]
    public void Save_Opened_IsTheSameModel(UNetLayout layout, bool told, bool diffusers)
    {
        using var model = ModelFolders.RandomVideo(layout, config => config with
        {
            TemporalText = told, FramePositions = told, TemporalWidthDivisor = layout == UNetLayout.StreamParallel ? 2 : 1,
        });
        Assert.AreEqual(diffusers, ModelFolder.Save(model, _folders.PathOf("a", "saved"), frames: 5, side: 24, around: null) is null);
        var index = JsonNode.Parse(File.ReadAllText(_folders.PathOf("a", "saved", "model_index.json")))!;
        Assert.AreEqual(diffusers ? "TextToVideoSDPipeline" : "MobiusPipeline", (string?)index["_class_name"]);

        var start = PretrainedModel.From(_folders.PathOf("a", "saved"), null);
        using var again = ModelFolders.Open(_folders.PathOf("a", "saved"));

        Assert.AreEqual((5, 24), (start.FrameCount, start.Side));
        ModelFolders.AssertSame(model, again);
        Assert.AreEqual((layout, told, told), (again.UNet.Config.Layout, again.UNet.Config.TemporalText, again.UNet.Config.FramePositions));
        Assert.AreEqual(0, again.Loaded.Sum(part => part.New.Tensors + part.LeftOut.Tensors));
    }

    [TestMethod]
    public void Save_SerialOfA3DUNet_IsWhatDiffusersReads()
    {
        string folder = _folders.Video();
        var config = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "unet/config.json")))!.AsObject();
        Assert.AreEqual("UNet3DConditionModel", (string?)config["_class_name"]);
        Assert.AreEqual("[\"CrossAttnDownBlock3D\",\"DownBlock3D\"]", config["down_block_types"]!.ToJsonString());
        Assert.AreEqual((4, 8, 3), ((int)config["attention_head_dim"]!, (int)config["sample_size"]!, (int)config["num_frames"]!));
        Assert.IsFalse(config.Any(pair => pair.Key.StartsWith("mobius")));
        Assert.AreEqual(2, JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "vae/config.json")))!["down_block_types"]!.AsArray().Count);
        using var file = WeightFile.Open(Path.Combine(folder, "unet/diffusion_pytorch_model.safetensors"));
        Assert.HasCount(2, file.Entries["down_blocks.0.attentions.0.proj_in.weight"].Shape);
        Assert.IsTrue(file.Entries.ContainsKey("down_blocks.0.temp_convs.0.conv4.3.weight"));
        Assert.AreEqual("pt", file.Metadata["format"]);
    }

    [TestMethod]
    public void Save_AroundAnotherModel_StoresTheTemporalHalfAlone()
    {
        string image = _folders.Image();
        using var model = ModelFolders.Random(ModelFolders.Open(image));
        ModelFolder.Save(model, _folders.PathOf("runs", "one"), 3, null, around: image);

        CollectionAssert.AreEquivalent(new[] { "model_index.json", "unet/config.json", "unet/temporal.safetensors" }, Files(_folders.PathOf("runs", "one")));
        Assert.AreEqual("../../image", (string?)JsonNode.Parse(File.ReadAllText(_folders.PathOf("runs", "one", "model_index.json")))!["_base_model"]);
        using var again = ModelFolders.Open(_folders.PathOf("runs", "one"));
        ModelFolders.AssertSame(model, again);

        Directory.Move(image, _folders.PathOf("elsewhere"));
        Assert.Contains("_base_model", Assert.ThrowsExactly<InvalidDataException>(() => ModelFolders.Open(_folders.PathOf("runs", "one"))).Message);
    }

    [TestMethod]
    public void Save_AroundAModelOfOtherWeights_Throws()
    {
        string image = _folders.Image();
        using var model = ModelFolders.Open(image);
        using (no_grad())
            model.UNet.Spatial.parameters().First().add_(1);
        var thrown = Assert.ThrowsExactly<WeightMismatchException>(() => ModelFolder.Save(model, _folders.PathOf("one"), 3, null, around: image));
        Assert.Contains("unet/diffusion_pytorch_model.safetensors", thrown.Message);
        Assert.ThrowsExactly<ArgumentException>(() => ModelFolder.Save(model, image, 3, null, around: image));
        Assert.IsFalse(Directory.Exists(_folders.PathOf("one")));
    }

    [TestMethod]
    public void Save_FolderOfAnother_IsLeftAsItIs()
    {
        string image = _folders.Image();
        string[] before = Files(image);
        using var model = ModelFolders.Open(image);
        Assert.Contains("not empty", Assert.ThrowsExactly<IOException>(() => ModelFolder.Save(model, image, 3, null, null)).Message);
        CollectionAssert.AreEqual(before, Files(image));

        string own = _folders.Video();
        File.WriteAllText(Path.Combine(own, "notes.txt"), "mine");
        Assert.ThrowsExactly<IOException>(() => ModelFolder.Save(model, own, 3, null, null));
        File.Delete(Path.Combine(own, "notes.txt"));
        ModelFolder.Save(model, own, 3, null, null);
        CollectionAssert.Contains(Files(own), "unet/spatial.safetensors");
        CollectionAssert.DoesNotContain(Files(own), "unet/diffusion_pytorch_model.safetensors");
        CollectionAssert.AreEquivalent(new[] { "image", "video" }, Directory.EnumerateFileSystemEntries(_folders.PathOf()).Select(Path.GetFileName).ToArray());
    }

    [TestMethod]
    public void FolderAside_WritingFails_LeavesWhatWasThere()
    {
        string folder = _folders.PathOf("one");
        FolderAside.Write(folder, _ => { }, aside => File.WriteAllText(Path.Combine(aside, "a"), "first"));
        Assert.ThrowsExactly<IOException>(() => FolderAside.Write(folder, _ => { }, aside =>
        {
            File.WriteAllText(Path.Combine(aside, "a"), "second");
            throw new IOException("full");
        }));
        Assert.AreEqual("first", File.ReadAllText(Path.Combine(folder, "a")));
        Assert.HasCount(1, Directory.GetFileSystemEntries(_folders.PathOf()));
        FolderAside.Write(folder, _ => { }, aside => File.WriteAllText(Path.Combine(aside, "b"), "third"));
        CollectionAssert.AreEqual(new[] { "b" }, Files(folder));
    }

    [TestMethod]
    public void Open_SerialVideoModelAsStreams_StartsTheTemporalStreamFromIt()
    {
        string folder = _folders.Video();
        using var serial = ModelFolders.Open(folder);
        using var streams = ModelFolders.Open(folder, options => options.Layout = UNetLayout.StreamParallel);
        var (from, to) = (StateDict.Of(serial.UNet.Temporal).ToDictionary(), StateDict.Of(streams.UNet.Temporal).ToDictionary());
        using var scope = NewDisposeScope();
        Assert.IsTrue(to.Keys.Where(from.ContainsKey).All(name => from[name].Equals(to[name])));
        Assert.IsFalse(streams.UNet.Config.TemporalText);

        var part = streams.Loaded.Single(part => part.Name == "unet.temporal");
        Assert.AreEqual(to.Keys.Count(from.ContainsKey), part.Loaded.Tensors);
        Assert.AreEqual(to.Keys.Count(name => !from.ContainsKey(name)), part.New.Tensors);
        Assert.AreEqual(from.Keys.Count(name => !to.ContainsKey(name)), part.LeftOut.Tensors);
        Assert.AreEqual(streams.TrainedParameterCount, part.Loaded.Parameters + part.New.Parameters);
        string table = LoadedPart.Table(streams.Loaded);
        Assert.Contains($"{part.New.Parameters:N0}", table);
        Assert.HasCount(6, table.Split('\n'));
    }

    [TestMethod]
    public void Open_LayerParallelInOneFile_IsToldByItsNames()
    {
        string folder = _folders.Video();
        using var model = ModelFolders.RandomVideo(UNetLayout.LayerParallel);
        using (var stream = File.Create(Path.Combine(folder, "unet/diffusion_pytorch_model.safetensors")))
            Safetensors.Write(stream, StateDict.Of(model.UNet.Spatial).Concat(StateDict.Of(model.UNet.Temporal)));
        using var opened = ModelFolders.Open(folder);
        Assert.AreEqual(UNetLayout.LayerParallel, opened.UNet.Config.Layout);
        ModelFolders.AssertSame(model.UNet, opened.UNet);
    }

    [TestMethod]
    public void Open_VideoModelWithTextForTime_LeavesItsSecondAttentionOut()
    {
        string folder = _folders.Video();
        using var serial = ModelFolders.Open(folder);
        using var told = ModelFolders.Open(folder, options => options.TemporalText = true);
        var (from, to) = (StateDict.Of(serial.UNet.Temporal).ToDictionary(), StateDict.Of(told.UNet.Temporal).ToDictionary());
        using var scope = NewDisposeScope();
        foreach (var (name, weight) in to)
            Assert.AreEqual(!name.Contains("temp_attentions.") || !name.Contains(".attn2."), weight.Equals(from[name]), name);
    }

    [TestMethod]
    public void Trainer_PretrainedModel_TellsWhatWasLoadedAndTakesItsSize()
    {
        var tiny = new TinyPipeline();
        string folder = _folders.Video();
        var options = new TextToVideoTrainer.Options { ModelPath = folder, Steps = 0, SamplingSteps = 2 };
        using var model = tiny.ML.Transforms.TextToVideo(options).Fit(tiny.Prompts());
        Assert.AreEqual(UNetLayout.Serial, model.Layout);
        Assert.AreEqual((3, 16, 16), (model.Generation.FrameCount, model.Generation.Height, model.Generation.Width));
        Assert.IsTrue(tiny.Logged("Info", "unet.temporal"));
        Assert.IsNull(options.Layout, "the caller's options are left as they are");

        model.SavePretrained(_folders.PathOf("saved"));
        Assert.IsTrue(tiny.Logged("Info", "TextToVideoSDPipeline"));
        options.ModelPath = _folders.PathOf("saved");
        using var again = tiny.ML.Transforms.TextToVideo(options).Fit(tiny.Prompts());
        TinyPipeline.AssertSame(TinyPipeline.Videos(model.Transform(tiny.Prompts("a"))).Single(), TinyPipeline.Videos(again.Transform(tiny.Prompts("a"))).Single());
    }

    [TestMethod]
    public void Trainer_NothingOfTheTemporalHalfFits_Warns()
    {
        var tiny = new TinyPipeline();
        string folder = _folders.Video();
        // A temporal half that has nothing but what no stream has a place for.
        ModelFolders.Change(folder, "model_index.json", json =>
        {
            json["_class_name"] = "MobiusPipeline";
            json["unet"] = new JsonArray("mobius", "MobiusUNet");
        });
        ModelFolders.Change(folder, "unet/config.json", json => (json["_class_name"], json["mobius_spatial_class"], json["mobius_layout"]) = ("MobiusUNet", "UNet3DConditionModel", 0));
        string whole = Path.Combine(folder, "unet/diffusion_pytorch_model.safetensors");
        File.Copy(whole, Path.Combine(folder, "unet/spatial.safetensors"));
        File.Move(whole, Path.Combine(folder, "unet/temporal.safetensors"));
        Rewrite(Path.Combine(folder, "unet/spatial.safetensors"), weights => weights.Where(weight => !Golden.IsTemporal(weight.Key)));
        Rewrite(Path.Combine(folder, "unet/temporal.safetensors"), weights => weights.Where(weight => weight.Key.StartsWith("transformer_in")));
        var options = new TextToVideoTrainer.Options { ModelPath = folder, Steps = 0, Layout = UNetLayout.StreamParallel };
        using var model = tiny.ML.Transforms.TextToVideo(options).Fit(tiny.Prompts());
        Assert.IsTrue(tiny.Logged("Warning", "starts anew"));
    }

    [TestMethod]
    public void Trainer_NoSuchModel_Throws() => Assert.ThrowsExactly<DirectoryNotFoundException>(
        () => new MLContext().Transforms.TextToVideo(new TextToVideoTrainer.Options { ModelPath = _folders.PathOf("none") }));

    private static string[] Files(string folder) => [.. Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
        .Select(path => Path.GetRelativePath(folder, path).Replace('\\', '/')).Order()];

    private static void Rewrite(string path, Func<IEnumerable<KeyValuePair<string, Tensor>>, IEnumerable<KeyValuePair<string, Tensor>>> change)
    {
        IReadOnlyDictionary<string, Tensor> weights;
        using (var stream = File.OpenRead(path))
            weights = Safetensors.Read(stream);
        using (var stream = File.Create(path))
            Safetensors.Write(stream, change(weights));
        foreach (var weight in weights.Values)
            weight.Dispose();
    }
}
