using Microsoft.ML.Data;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML.Mobius.Tests.Pipeline;

[TestClass]
public sealed class VideoColumnTests
{
    private sealed class Row
    {
        public string Caption { get; set; } = "";

        [VideoType]
        public VideoClip? Video { get; set; }
    }

    private sealed class FixedRow
    {
        [VideoType(2, 4, 6)]
        public VideoClip? Video { get; set; }
    }

    [TestMethod]
    public void LoadFromEnumerable_VideoMember_BecomesAVideoColumn()
    {
        var ml = new MLContext(0);
        var clip = SmallVideos.Gradient(2, 4, 6);

        var data = ml.Data.LoadFromEnumerable([new Row { Caption = "a", Video = clip }, new Row()]);

        Assert.AreEqual(new VideoDataViewType(), data.Schema["Video"].Type);
        CollectionAssert.AreEqual(new[] { clip, null }, data.GetColumn<VideoClip?>("Video").ToArray());
        Assert.AreSame(clip, ml.Data.CreateEnumerable<Row>(data, reuseRowObject: false).First().Video);
    }

    [TestMethod]
    public void LoadFromEnumerable_FixedSize_IsInTheType()
    {
        var ml = new MLContext(0);
        var data = ml.Data.LoadFromEnumerable([new FixedRow { Video = SmallVideos.Gradient(2, 4, 6) }]);

        Assert.AreEqual("Video<2, 4, 6>", data.Schema["Video"].Type.ToString());
        Assert.IsNotNull(ml.Data.CreateEnumerable<Row>(data, false, ignoreMissingColumns: true).Single().Video);
    }

    [TestMethod]
    public void Equals_SameSizeOnly()
    {
        Assert.AreEqual(new VideoDataViewType(1, 2, 3), new VideoDataViewType(1, 2, 3));
        Assert.AreEqual(new VideoDataViewType(1, 2, 3).GetHashCode(), new VideoDataViewType(1, 2, 3).GetHashCode());
        Assert.AreNotEqual(new VideoDataViewType(1, 2, 3), new VideoDataViewType(1, 3, 2));
        Assert.AreNotEqual(new VideoDataViewType(1, 2, 3), new VideoDataViewType());
        Assert.AreEqual(new VideoTypeAttribute(1, 2, 3), new VideoTypeAttribute(1, 2, 3));
        Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => new VideoDataViewType(0, 1, 1));
    }
}
