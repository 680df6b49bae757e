using System.Buffers.Binary;
using System.Text;

namespace Microsoft.ML.Mobius.Tests;

/// <summary>Damages data in the ways of broken and of malicious files, alike for the same seed.</summary>
internal static class Mutation
{
    private static readonly long[] s_numbers =
        [0, 1, -1, 2, 7, 8, 127, 128, 255, 256, 65535, 65536, int.MaxValue, int.MinValue, uint.MaxValue, 1L << 32, 1L << 40, 1L << 62, long.MaxValue, long.MinValue];

    /// <summary>A copy of <paramref name="data"/> with one to four changes.</summary>
    public static byte[] Of(byte[] data, Random random)
    {
        List<byte> changed = [.. data];
        for (int changes = random.Next(1, 5); changes > 0; changes--)
        {
            int at = random.Next(changed.Count + 1), length = Math.Min(random.Next(1, 17), changed.Count - at);
            long number = s_numbers[random.Next(s_numbers.Length)];
            switch (random.Next(9))
            {
                case 0 when at < changed.Count:     // a bit
                    changed[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1 when at < changed.Count:     // a byte
                    changed[at] = (byte)random.Next(256);
                    break;
                case 2:                             // the end
                    changed.RemoveRange(at, changed.Count - at);
                    break;
                case 3:                             // a part away
                    changed.RemoveRange(at, length);
                    break;
                case 4:                             // a part twice
                    changed.InsertRange(random.Next(changed.Count + 1), changed.GetRange(at, length));
                    break;
                case 5:                             // something new
                    var added = new byte[random.Next(1, 9)];
                    random.NextBytes(added);
                    changed.InsertRange(at, added);
                    break;
                case 6:                             // a binary number
                    var bytes = new byte[8];
                    BinaryPrimitives.WriteInt64LittleEndian(bytes, number);
                    for (int i = 0, size = 1 << random.Next(4); i < size && at + i < changed.Count; i++)
                        changed[at + i] = bytes[i];
                    break;
                default:                            // a number written in digits
                    int digit = changed.FindIndex(Math.Min(at, changed.Count), value => value is >= (byte)'0' and <= (byte)'9');
                    if (digit < 0)
                        break;
                    int end = changed.FindIndex(digit, value => value is < (byte)'0' or > (byte)'9');
                    changed.RemoveRange(digit, (end < 0 ? changed.Count : end) - digit);
                    changed.InsertRange(digit, Encoding.ASCII.GetBytes(number.ToString()));
                    break;
            }
        }
        return [.. changed];
    }
}
