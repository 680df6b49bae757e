using Microsoft.ML.Data;
using Microsoft.ML.Mobius;
using Microsoft.ML.Mobius.Video;

namespace Microsoft.ML;

/// <summary>Reading and writing video files as steps of an ML.NET pipeline.</summary>
public static class VideoCatalog
{
    /// <summary>Loads the video files named by a text column into a column of <see cref="VideoClip"/> values.</summary>
    /// <remarks>A file is decoded when its row's value is asked for, not before. An empty path gives a null clip.</remarks>
    /// <param name="catalog">The transforms catalog.</param>
    /// <param name="outputColumnName">Name of the new column, a <see cref="VideoDataViewType"/> of the size in the options.</param>
    /// <param name="inputColumnName">Name of the text column of paths; null means <paramref name="outputColumnName"/>.</param>
    /// <param name="options">Length, size and rate of the clips; null means the defaults of <see cref="VideoReadOptions"/>.</param>
    /// <param name="videoFolder">Folder that relative paths start from; null means the current folder.</param>
    /// <returns>The estimator; it learns nothing from the data.</returns>
    /// <exception cref="ArgumentException">An option is out of its range, a name is empty, or the folder does not exist.</exception>
    public static VideoLoadingEstimator LoadVideos(this TransformsCatalog catalog, string outputColumnName, string? inputColumnName = null,
        VideoReadOptions? options = null, string? videoFolder = null)
        => new(CatalogUtils.GetEnvironment(catalog), outputColumnName, inputColumnName ?? outputColumnName, options ?? new(), videoFolder);

    /// <summary>Writes the clips of a video column as files and adds a text column of their paths.</summary>
    /// <remarks>
    /// A file is written when its row's path is asked for, once per row. Without <paramref name="fileNameColumn"/> files are called by the
    /// row's number in the data, from 000.mp4 on; predictions of one PredictionEngine count on from 000 as well. (Rows of appended
    /// or resampled data have no such number: theirs are the 32 hexadecimal digits of ML.NET's row id.) A file that is there already
    /// is replaced. A null clip is not written and its path is empty.
    /// </remarks>
    /// <param name="catalog">The transforms catalog.</param>
    /// <param name="outputPathColumnName">Name of the new text column.</param>
    /// <param name="inputColumnName">Name of the video column.</param>
    /// <param name="folder">Folder that the files go into; made if it is missing.</param>
    /// <param name="format">File format; the default is mp4.</param>
    /// <param name="fileNameColumn">Name of a text column of file names, with or without the extension; they must differ.
    /// Null means row numbers.</param>
    /// <returns>The estimator; it learns nothing from the data.</returns>
    /// <exception cref="ArgumentException">A name is empty, or the format is unknown.</exception>
    public static VideoSavingEstimator SaveVideos(this TransformsCatalog catalog, string outputPathColumnName, string inputColumnName,
        string folder, VideoFileFormat format = VideoFileFormat.Mp4, string? fileNameColumn = null)
        => new(CatalogUtils.GetEnvironment(catalog), outputPathColumnName, inputColumnName, folder, format, fileNameColumn);
}
