using System.IO.Compression;
using System.Text;

namespace Microsoft.ML.Mobius.Text;

/// <summary>Unicode's canonical composition (NFC), so that a letter and its accent give the same token however they were typed.</summary>
/// <remarks>
/// <see cref="string.Normalize()"/> does nothing in an application with InvariantGlobalization, and a caption must have the same tokens in
/// every application: hence a table of our own (Unicode 14: pairs that compose, and combining classes). Characters that NFC merely
/// replaces by another one, as the CJK compatibility ideographs, are left as they are.
/// </remarks>
internal static class Composition
{
    private const int HangulFirst = 0xAC00, LeadFirst = 0x1100, VowelFirst = 0x1161, TailFirst = 0x11A7;
    private const int LeadCount = 19, VowelCount = 21, TailCount = 28;

    private static readonly Dictionary<(int First, int Second), int> Composed = [];
    private static readonly Dictionary<int, (int First, int Second)> Decomposed = [];
    private static readonly Dictionary<int, int> Classes = [];

    static Composition()
    {
        using var packed = new MemoryStream(Convert.FromBase64String(Table));
        using var reader = new StreamReader(new ZLibStream(packed, CompressionMode.Decompress), Encoding.UTF8);
        int[][] columns = [.. reader.ReadToEnd().Split('\0').Select(column => column.EnumerateRunes().Select(rune => rune.Value).ToArray())];
        for (int i = 0; i < columns[0].Length; i++)
        {
            Composed[(columns[0][i], columns[1][i])] = columns[2][i];
            Decomposed[columns[2][i]] = (columns[0][i], columns[1][i]);
        }
        for (int i = 0; i < columns[3].Length; i++)
        {
            for (int k = 0; k < columns[4][i]; k++)
                Classes[columns[3][i] + k] = columns[5][i];
        }
    }

    public static string Compose(string text)
    {
        // Nothing below U+0300 combines, or changes while nothing else is there.
        if (text.AsSpan().IndexOfAnyExceptInRange('\0', '\u02FF') < 0)
            return text;

        var runes = new List<int>(text.Length);
        foreach (var rune in text.EnumerateRunes())
            Decompose(rune.Value, runes);
        Order(runes);
        Join(runes);
        var composed = new StringBuilder(text.Length);
        foreach (int rune in runes)
            composed.Append(new Rune(rune));
        return composed.ToString();
    }

    private static int ClassOf(int rune) => Classes.GetValueOrDefault(rune);

    private static void Decompose(int rune, List<int> into)
    {
        if (Decomposed.TryGetValue(rune, out var parts))
        {
            Decompose(parts.First, into);
            Decompose(parts.Second, into);
        }
        else
        {
            into.Add(rune);     // Hangul syllables stay whole: Join takes them as they are
        }
    }

    /// <summary>Sorts each run of combining marks by class, equal ones staying in order.</summary>
    private static void Order(List<int> runes)
    {
        for (int i = 1; i < runes.Count; i++)
        {
            for (int k = i; k > 0 && ClassOf(runes[k]) != 0 && ClassOf(runes[k - 1]) > ClassOf(runes[k]); k--)
                (runes[k - 1], runes[k]) = (runes[k], runes[k - 1]);
        }
    }

    /// <summary>Joins each character to the last starter unless one of the same or a higher class stands between them.</summary>
    private static void Join(List<int> runes)
    {
        int starter = -1, previousClass = -1, kept = 0;
        for (int i = 0; i < runes.Count; i++)
        {
            int rune = runes[i], combining = ClassOf(rune);
            if (starter >= 0 && previousClass < combining && Pair(runes[starter], rune) is { } joined)
            {
                runes[starter] = joined;
                continue;
            }
            if (combining == 0)
                (starter, previousClass) = (kept, -1);
            else
                previousClass = combining;
            runes[kept++] = rune;
        }
        runes.RemoveRange(kept, runes.Count - kept);
    }

    private static int? Pair(int first, int second)
    {
        if (first - LeadFirst is >= 0 and < LeadCount && second - VowelFirst is >= 0 and < VowelCount)
            return HangulFirst + ((first - LeadFirst) * VowelCount + second - VowelFirst) * TailCount;
        if (first - HangulFirst is >= 0 and < LeadCount * VowelCount * TailCount && (first - HangulFirst) % TailCount == 0
            && second - TailFirst is > 0 and < TailCount)
            return first + second - TailFirst;
        return Composed.TryGetValue((first, second), out int composed) ? composed : null;
    }

    // zlib, base64: six columns parted by U+0000, namely first, second and composed character; first character, count and class of a run.
    private const string Table =
          "eNrlWelzI9dxF8ldUWvHTuzEuQ/n+i+SVK2tTaTYkVK21k6cT5KlSIodbcrW2pE+YTAgbpAAeIInSNwXcRNzT5VmZoFKLblkUAUti7ul+c184xfhT0jP"
        + "kFxxba8c21GOCvr95njT73W/fv1muh+u33j+hRdvfvPvX37tzbdu3f7hO+8VNa8W1ha0dW1HK2sdTdK9Oqsn9XkjasTupO9s36nfaRwkDhYPlg9SB1sH"
        + "uYPSQfOge9A74A/UezP3QvfC9yKHi4crh91DDpIHEgMpCCkEKQ4pAWkFUgpSGtI2pCKkEqQGpCYkYuYheyAzkIOQQ5DjkBOQU5DTkLchFyGXoKhQletf"
        + "vvFXz3/lq3/zwot/+7Wvk/Lfevnbr73+5ne++89v3fqX732fRvGuO4wZza8FaDBzNJxFbcUdUk7LawUaWJ2G1tW4x4dnFI3Sf3aI95KH84erh+1D4RMc"
        + "5HPP//WLjwb4xpv/dMsdHIQ0hG0IHAQeYhRi7Lo7i984n8UfvHM+h+4MOgO8GNR1stuLN4nt9Tdv3X5H85GBFrUlMkyWzNLV9jSpX+5XBvlBYbA7qJMJ"
        + "UjT45gF/b4bmM3PIHbHg9sD1wK+CXzvr7ayzQXFQeow/Tj6w5LZqkCfsuW1dva9/6cvP3vhLGtrZ9L30zb+j4b3y7Vdf+8fX3zibwLd/+K/vvGusGmtG"
        + "2tg2VPA74DPXbzxHwoj55dfeePPW27eJh3TvGmWj4kolmTQl/nO5yyR5k2QXDiuHtXMNeofcoXLEHgWOIkexo6XhyjA1LA5LZDvXJK5FnmS3my+T4V+8"
        + "eev2YeaIvU4DIP2/8tUXXiT9b9LkvOrOzne++9Yt0v72u2RQ6U7v35JO11+76XT9vdtHnaPu5ftL/nXZuxjHvy492/4R73OfO4pc/9KzN547WwSOEt9w"
        + "nOSVV8k27jJw1PgBucrFAG7evv7y11/6/tuu5qQ4NXGVJpWJ1TWBa4Fnb3z1hZduvvrad996+/Zzb9x4/uZrb97+0rNOg5e+9cqrLvvb7/7Zn/+F5Y9b"
        + "/qTlX7ACcSuQtAILVpC1gkErGLGCGSuYs4KSFWKt0IwVClqhmBXatkJZK5SzQi0r1LZCe1aoZ4UEKyRaIeKUrbDXCrNW2G+FA1Y4YYWTVnjHChetcMkK"
        + "V6xwywq3rXDHCnffK5I5eu58uwvx8eX3pCX3xGVGtl4mC1cPdp1uqcvZiw69kFhIPkgzkPyQAhciwpBIaBRSDBIxz10I3YGUgZSFlIOUh1S4UKMMqQKp"
        + "CqkGaRdS/UKHHcgZyFnIOch5yIVzreQy5ArkKuQa5F3IxN+A3IEsQdmD6oe6d79wv3AcPA6fMCfJk8X7BTNbNLMNM9s2CwGn1C5K3W/WA+Zu0rlo+s22"
        + "32ypzrEddo5dKgHn2EuZvXX3mIInh+oMqgFUQ6hGUI2hmkBVQFVCVUFVRc1rM36bidhMzGbmbCZhM/M2s2gzyzaTspk1m9mwmS2b2baZrM3kbaZoM3Wb"
        + "adlM12Y4mxFt74btzdveiu2t2d667W3a3rbt7drenu3lbS8xyLZXtVnGZn0267fZoM3O2WzSZhdtdsVm12y2brMNm23abMtm5R/t/3HmccKbIjjn3Djh"
        + "axJa40QscIYk/xGWOAKds92n7nr+jxDz/4a8vyCxPyf5PiHy/4IU+AQp+N9IoZ+Rwpcocomi/2U09zGUeALNfwwt/BRaO6fMJ0BZohxR/pwKPwMVfwLV"
        + "nkC7RI1L1PypxH0ytO/9uWnmf5KO548XLtGimZXOS14xC8tmVTFrS2Zt2dxVnFJfdkpzyWx7zfbiRVkyO4pTustmL+yWObO3Bc8uqt2PL7Y39b+srH5M"
        + "oW+58BF8hTNEFfqmL9O3vEGg+qRM3/P6GbKNpzSPFtSifU5LaikIHogtLa0VtWqf11oaD4GB2IZag5CHSE+T/TUIBYhUPd9fh9CA0AS3AG4RfBx8AuI6"
        + "xA2IZYgVKALUINQw1FWoHNQyVMGN21pu6LYHmYMsODGcmoS6c+g5jB3FjzYugsyzkDIJaR7SKqS1i2DyLHRsQWpDojxThOyFzEIOQ45ATkKeh7x2EUm6"
        + "caMag7qhMbpfC/U7WgxcQ+fBKQarzYNfMBaMVW0VglfbMHhtWw9opX5Xq4Fr6gI41fBpbfCLxqKxpgkQWE02hIMZCNm+0JfABSEo4HYh0vCjfaW/DCHX"
        + "F/syuBAEFVwdYgJ8rK/2VyDsQqiDWwK3DD4JnqRz4CldXYW4BrEIsXTgPwgehA7CB9GD2YM5isBrFIPX70Xvxe7NHsQPGvfmD9nD6NH80fpFFH4Wcy9A"
        + "WoRElRsX0fZZbN2B1IUkQZIh+yDPQI5CjkFegLwIeeMi1HYDa3UW6qbm1YNaWF/Xs9qs3tEWjHVtzegYexDi2o4e0sr6hp7TdvWu1jE2NNHoGj0ICQhV"
        + "CDWIfogBiCsQUxpltpJe1BLaolEEL0HktAwEWS9pTcpQS+BliORg5Ck+iEsQKhBnIJL5OhC6ENMQtyGSXeu6R0+CS+tlI2qUBy2d0efBbesVI2ZUBu3+"
        + "Zn9nUB2U+4v9rX5mUBtU+kv9ar/WT/e3B41BEwoPNQWVMpsm1ATU7eHOcHeYGdJEcOB48OvgNyivXdA39aoxa1R1Vl/Ut/SaMWeQE6yD24BC3rsCtQil"
        + "ATUONT2MD5eGzGHqcHaYGC4PvYf80SYEMlJvkAfn1cPgwjrN86aeBrejN8B7wPsGu+CXwK+AT4MvQ/BDCEOYNcRBARyrR8BF9GVwW/o2uAx4BvzMoA6e"
        + "nCUFfht8BUIAQgTCnCGBz4LPgc+DL0BYA09GLmk+jTrJa3PO/gUEH4SowWlZrQKuoNU10m9ZkyCQ98Y0Ffws+DnwAnjxoHxQcTdwFg4Dw+QhM1wfbg6z"
        + "w/ywMewMuWF1OH+UGG4Mt4a5YWHYHHaH/LB2tDxcHa4Ny0NSaweCADEIcRYivSlIEM21CDEEcQ4ivTDISci9vRAXIJQgshAXIbQgtCFuQtyCWIVY02aM"
        + "XS1n1CHQWkkZcaNhJIzmsDVs92N6VJ/VV/v5wWZ/rl/UZSPQTxgrRtrI9ucNuT+rx/Q5fa1fGGz14/1Gv6QrRrCfNFLGtpHrLxhKP9Vf7e/26wPPwDcI"
        + "DqKD+GBhwAxmBqFBbJAYLB7tHfUG3oF/EB7MDpKDpQE7CAwig7nB/GDZTXJX3NSVc7eoim46HHeT3IazdaVm3Ww67ebCKTfD5Z2dLLXq5tclN3dOuBlx"
        + "09nnUnNu6r19J32nfmf7TsPZBeJ84KLOBhaXhUgO1HK2lXgveL+zn+VsLu2AJzPRvCsQyNa0UJLOnhc3Ay7mbHtxOYg0/213M4oFT0sxBp58g5yJFid5"
        + "iwqBpqQLYR7iDsQMxAbEJvgWeGrlAccMVgarg9RgTQuAiw+K+g64or6ni8aMsWRsGjsauWpiUNIz4Ep6T5cMv7FsbBkZ3aev6Lv9stHSZ/SUXu9XDOqR"
        + "Fu4KOHLWMHhaBHvgaO2mwMngI+BJcA9cGRz55yq4KvgOuDVwNfBdcH5ws+Cohhw0CH4TPL0+6VNDis1BoMVFPCL4EPgt8OQzi1Zo1wqlrVDd8q9a/jXL"
        + "v2sFYlZgzgrMWkGfFQxZwagVzFrBvBVirJDPCgWsUMgK1azQjhVqWKGmFepYoa4V4qwQb4U9VpixImkrsm2FfVZ4xgoHrXDIiuxYkYwVrlrhmhXetcJ1"
        + "K1K2IhUrUrUi9BJlLnYklqDmodL1MtTCxW7J2d7I2U6Iu+8h7UHqQVIgqZCXIC9D3rrY+nA3OtQ5qFtQ6CMZhSpB6UD1QaGPMguVjh0oHigk1AuFhUKP"
        + "ZqD4oQSgBKGEoIShRKBEocSgzEKZgxKHkoCShDIPZQHKIpQlKMtQVqCkoKxCWYOyDoVee5tQSHQayjaUHSgZKFkoOSh5KAUo9Dqkt2oZCn3qq1BqUHah"
        + "1KG0oHqhtqD0oAag9u7v3M/cz97Pn3hP5k8893NmtmRmm2a2YxYiZiFq1iJmLWjWomY9bNYj5u6CWY+azaC7IeMx2wGzHTHbQbMbNrsRsxs1e6tmb8Pd"
        + "nNmEJ4+qH9UgqmFUo6jOoppEVURVRs2DGoMaa3sXbCZqM7M2E7eZpM3Q7ZLNrNjMqs2s28ymzaRtZsdmcjZTsJmSzTRspm0zezbD24xkezdttmN7q7Z3"
        + "1/Y2bG/L9tLtnu3lbK9ge4lBsVmPzXptdsZmAzYbstm4zc7b7JLNpmx23WZ7NsvZLG+zgs0qNtO0mY7N9GxGsBnZZhM2u2Czyza7arMbFL05kdw6oUIR"
        + "3C6BIrVYhBCl6E0iiASK6pYomlui6yzn7Mws3l26u0r50vrdbcpwCndLdzt3+bsyRdH+/cB+eD+2H9+f31/eX9lP7a/tr+9v7G/tp/d39jP/zo4So+Ro"
        + "abQ8Wh2tjdZHO6PiqDyqjGqj3VF91Bg1R61Re9QZdUd7o96IG/EjcSSN5JH6PvO+933f+zPvB+7H76/cT91fPY4cR49jx7PHc8fx48RxkuL3xePl4/Xj"
        + "jeOt48bJ0snWSeYke1I4KZ9UTmoPEg8aD5oPWg86D7oPeg+EB+ID+YHyQH3ofcg+9D2ceeh/GHgYfBj6oPJB64P2B7KZXjLTa2Y6Z6ZL5nbK3Fkxd+i4"
        + "bmbCZmbOzCyYmYyZyZqZvJkpmJmSmSmbmZqZaZiZpplpmZm2mdkzMz0zw5sZ0ckicjEzlzBzSTM3b+YlsxAzC4pZlMxSzCxLZiVmViWzFjPrMbMhmc2Y"
        + "2Vx0souWZLZjZkc0uzEnneA4kxNMPmgKnCkIphg0pRVT6ppSz5R4U26acsuUO6YsmIrHVLym4jMVv0lvCE8PHh7eGGIbWF/AegdbSWxtYKeELI+sgKyI"
        + "4jKKKyilUeqipKLcQLmLsoiyjLKKCoMKi8oMKmFUIqh2UPOhVkGtiloNu2XU86i30OihHUd7Ae1FtFfRXkc7jfYO2jW0O2hz6HnQ86LHohdGL4JeDL1Z"
        + "9ObQi6OXQG8PvR56PHoCeiJ6Enoyegp6qsXGLTZpsQsWu2Kxaxa7bbE5iy1YbNFiSxZbttiqxTasdt3qqlYvbXvKtqdie6q2p2Z7aDmlTlP101TndHXz"
        + "dK1xmvafpqunGd9pJn2arZzm5k/z7dOC57TcOC23Tsud03LvtKycVpjTyt5pvfZhdfNDLv0hV/iQ2x3HA/I4HkmP47G9cbwYI8wROAJPEAjqOF7JEfLj"
        + "eCc7jguVcVz2E4KECCFKoHaKl8ASfISZcYLxEyh5YlRakvx5cuUhtMeJGUKArgPhcSLYJeyNE5ESoUyJFy3NWIyQJ1D7hJdAfSU2x4l5up5naflSn8vU"
        + "foXOq9R2tTdOrNOyT5OcNMnJUrKWI75CepwodsaJUmCcKKfGiQbxd6mPrm+c2FseL1Ua46UqQW2M11qb442ZHKFAqBF2CeJ4wz9DCBPK442Qd7zp8RCC"
        + "hDVChpAfb/oa483w7ngzUh1vZuLjzZyPEH7qCxNXJiauTl6Z/PTVK89MTExNTU5RxaRTJic+c5WeTk1MPP20c3fp99HNM5drJ686T6avnLV2+SannKup"
        + "C45pOly5NnV1amLqytWrn3X5ppynU27rx7r+SNbkxBW3uL8rZ51Tu0usz0xcdXR0+rji3E+7HTsDm5h2FKOjy/2nj/qfnLwydablpDPGL57VTXxq0qn6"
        + "/NS59i73NPU2cfVC1JVJGtOZFPf3SA0ScnXiJ1lpcuLqtGuJq8+QQlPTn5uevDo9cWX66YmntDxl5OsE59/a8Bkm6JTXGoT1Syi6x5JWPkf+0rPNxzg3"
        + "nX83P/XpX/rMZ3/5Vz73+V/9tS/8+m/85m85zz6v5X//D774O7/7e3T8wz+63P8fP+ruvOJPfkT6k3D5Kv8T6x+B5H50O33to/P0NYeovPQPdLp27fVr"
        + "3/nBNec/RYdW3mPe877nI3i1vNuImlBD4qObLA32vM9rj8lb/3FRjhQtP3FRPfFI6wvesvvPcNi1dZauVl17P2J3ytnho9ZO16vEXCQ90s9cWOFMt/Vr"
        + "ruRH1rl27bd/TD2nn2tPNpljjekzza9NT5/396jmrLgmc46k2dMT2sqEtuM60+VZuUyORf4Dk2xkiQ==";
}
