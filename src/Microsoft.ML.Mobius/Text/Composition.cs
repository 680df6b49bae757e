using System.IO.Compression;
using System.Text;

namespace Microsoft.ML.Mobius.Text;

/// <summary>Unicode's canonical composition (NFC), so that a letter and its accent give the same token however they were typed.</summary>
/// <remarks>
/// <see cref="string.Normalize()"/> does nothing in an application with InvariantGlobalization, and a caption must have the same tokens in
/// every application: hence a table of our own (Unicode 14). Only the thousand CJK compatibility ideographs, which NFC would replace by the
/// ideographs they stand for, are left as they are.
/// </remarks>
internal static class Composition
{
    private const int HangulFirst = 0xAC00, LeadFirst = 0x1100, VowelFirst = 0x1161, TailFirst = 0x11A7;
    private const int LeadCount = 19, VowelCount = 21, TailCount = 28;
    private const int Nothing = 1;      // in the table: the character is merely replaced by another one

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
        for (int i = 0; i < columns[6].Length; i++)
            Decomposed[columns[6][i]] = (columns[7][i], columns[8][i]);
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
            if (parts.Second != Nothing)
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

    // zlib, base64: columns parted by U+0000, namely first, second and composed character; first character, count and class
    // of a run of marks; a character that is taken apart for good, and its parts.
    private const string Table =
          "eNrlWelzI9dxF7m7otaOndiJcx/O9VfkqFpbSqTYkVK21nacL5EtRVLsSClba0f6hMHgPkgAJAHiJIj7GNwAMfdU7WAWKNcSSwZV5LJ2t/R65hu/AH9C"
        + "eobkLnftlWM7ylFBv9+c/d7r16/fm+7GtRdeevmV61//+9feePudd2/88P2bFdWu+tQNNaXm1JraV8WRfUSPIqN1LaAFb2Vv7dxq3WpPw9PNaWwan25P"
        + "i9PqtDMdTIdTbqrccd7x3vHd8e9v7m/tD/ZZEG0gUiB6QPSCGAIxDOIWiHEQsyDugFgBsQpiG8QOiMjMgWQDiQLJA5IXpBBIYZDiIGVB2gGpAlIVZAUU"
        + "+doXX/jrl7705b99+ZW/+8pXUfhvvvbtN958+zvf/Zd33v3X730fR/GBNQyn6lLdOJg1HM6mumUNqaiW1DIOrIVDG6js48PTKlr1PzvEO5H99f3Efm+f"
        + "/xgH+eJLf/PKwwG+9fY/v2sNDvgs8DvAs8BzIARACF6zZvFrZ7P4g/fP5tCaQXOA54O6hnp75Tqyvfn2uzfeVx2ooE01ioopoFoG6q4qjmvj+qQ0KU+a"
        + "kxaqII6D70y5O06cz/w+e0ADuwvsELgEcMnT1k4bm1Qm1cf4Q2gDUatWGy1h16pryX3tC198/oW/wqGdTt+rX/8GDu9b3379jX96863TCXzvh//2/gda"
        + "QktqWW1HU4DLAZe/9sKL2Bkyv/bGW2+/+94N5EHZB1pNq1u9Yp84Ja6zfmPYcwb7Lu/X9xtnEgz32X35gD5wH/gPggfR2dYsPqvMqqg7SyWWRp6mt+uv"
        + "oeJfuf7ujf38AX0NB4Dyf+nLL7+C8l/HyXndmp3vfPedd1H6Gx+gQsVbwx9FzKa/ct1s+ns3DvoHg4v3F+zronVRpn1deLfzhPVZ701Brn3h+RdePF0E"
        + "phBfM43kW6+jbqxlYIrxAzSV8wFcv3Htta+++v33LMlRcKxiCY0iI6ulAksDz7/w5Zdfvf76G999570bL771wkvX33j7xheeNyu8+s1vvW6xv/fBn//F"
        + "X+qukO6K6K4N3R3S3RHdvaF7aN3j0T1+3ZPXPUXdI+peWvc6da9H9wZ1747uLejeou7t6t6e7t3VvUPdy+teQfcip6T77LqP1n0u3efWfWHdF9F9Od1X"
        + "0X1V3VfXfV3d19N9fd03uFlBdQyt+bYW4uPL72lL7qnLDHUdQw0z06bZLDa5et6gHUQaRAeIThBdILrPu/CBiJ0GQAyCiMxr553mQMyDWACxCGIJxPK5"
        + "GDUQ6yAyIDZAbILYOpchB1IepAJIRZBKIJXPpJJqINVBYkBqgNQECfnbIPVBEkHeBcUFyu7d8t3ysefYd4+6F7m3ebdMChVSaJNCj5TdZmmcl5aLtNyk"
        + "GTEvOi7Sc5GuYh57PvM4wOI2j8M4GaasYxxsRWCcwLiB8QLjByYITBgYHhgRGBkYBRp2g3IZlN+ggga1ZlBhg1o3qE2DihlU3KCSBpU2qG2D2jGogkGV"
        + "DKpiUC2D6hrUwKBYgxIMe9qwlwx73bA3DHvLsHcMe8+wDwz70LBzhh0ZJMOuGDRl0A6Ddhm0x6DXDDpi0JsGvWXQSYNuGXTboDsG3TVo6cn2H2dehO1x"
        + "hHkuLsKODqK7CAfdp4hwjxBlEXguDJ65bfs/QtT/G7L/gkT/nOT4mMj1C5L7YyTPfyN5f0byXSD/BQr8l9HaR1D4KbT+EbTxUyh5RvmPgQpIRaTSGZV/"
        + "Bqr8BGo8hZpI7QvU+anEfjy0Z/+5yfk/ScfrxxsXaJMUxLNSkkk5RhiZNKKkESNN2SytmFk6UdKzk97meYmSvmyWQYwMfVZZI8NtsDWBGXx0Mezx/2Ul"
        + "8REFv+X8IzjKpwjI+E2P4be8jcDnEQm/561TFNrPqDbVowbGrBpR48DbQOiqWbWiMmNO7aoc8BQIPVAawJdAwLeRcRL4Mgj4eH2cAr4NfAfYDWA3gQsB"
        + "FwYhBUIahBoIdZB5UDyg+EBJgMKCUgOFt/y2ruW67YLEgsSbPpwSASW3b9sPHoQO0udO5qlLGQFxHcQEiMlzZ/LUdeyC2AMR40wBJDtINEg+kPwgRUBa"
        + "Byl57klafqMSBCWtUiOX6h331SCw7REHrKzR6jpwG9qGllATwNvVtMapOyO3Wh0P1AawnREPrKI51B5wm9qmllR54GlV0vipE/jCmB+LwHqAl4FtgoDD"
        + "D4zlcQz44lgYS8B6gVeAbYEQBi44VsZbwDeBbwEbBTYGXAQ47J0FDsPVBAhJECogVKeuqWfqnfqmgenqdA098Ab64K07gTvBO6vT0LR9Z32f3g8crB+k"
        + "zr3wU597A8RNEPFh+tzbPvWt+yAOQBRBlEBygOQEKQBSEKQNkDZBSp+72pZjrayCklHtI4/qG6VGBXV11Fc3tJSa1PraLvAhNTfyqrVRelRUm6OB2tfS"
        + "qqANtCHwYeAZ4BsguEBwg7AFQlzFyFYcVdSwuqlVgBNBYNU88NKoqnYwQq0CJ4GABoaW4gAhCnwdBCcIqL4+8AMQsiDsgIB6bY1sowiw2VFNC2i1SXdE"
        + "jdaB3RnVtaBWn/TGmXFuwkxq483x9jg/aUzq4+iYGTfG2fHOpD3pgMyBEgcFI5sOKGFQdma5WXOWn+FEsMBywKWAS2NcuzHKjBhtVWNG9GhztD1qaGsa"
        + "GkEK2DTIaL1boFRAboMSAiU7C82iM2o/vr86C89iM/s+d5ABHpU0nJSAtY98wPpGOM+ZURbY3KgNnA04x6QJXBS4LeCywNWAdwHvA35VEyZlYOmRH1j/"
        + "KAbs9mgH2DxwFHDOSQs4NJY4cDvA1YF3A+8Hfk0TgSsAVwSuBFwZ+CRwqOSq6lCxkZK6ZuYvgHcAH9BYtaDWgS2rLRXli6ki8Gi9QVUBbhW4NeB44IRp"
        + "bVq3Ejgb++5ZZJ+apWaZWWFWmrVn/Rk7Y2brB+FZerY9K87Ks85sMONmjYPYLDFLzmozFCsHPA+CB4RVEHCnwI5wrgUQvCCsgYAbBhoJmrcdhA3gqyDQ"
        + "IGwC3wW+B0IGhG0QGBAaqlNrqkWtBTyulbgW0tpaWOvMurPeODgKjFZHiXFpkhmvjSsjSXOPw9qWltUK43VNGq+OgqO1UXJcnmyPQ+P2uDqSNc84osW1"
        + "Ha043tDkcXycGDfHrYlt4ph4JoFJaLIxoSbOiXcSnIQnmwe7B8OJfeKa+Cark8gkOqEn7ol/sjZZn8SsIHfLCl1ZK0VVscLhkBXkts3UlVKwoumsFQvH"
        + "rQiXMzNZCmPF11Urdg5bEXHHzHMpRSv03rmVvdW6tXOrbWaBWAewATOBxRZAQAPqmmklzg6cy8xnmcmlHHCoJpx3GXjUNS6UiJnzYp3ABs20F1sEAee/"
        + "ZyWjaOBwKQaBQ9tAY8LFidaiAI9TMgB+HYQcCHkQ2iB0gOsCh7VswFKTrUliEp8kVTewoUlllAO2MtodCZpTi2oZLaeiqYYn1VEe2OpoOBI1lxbTtrX8"
        + "yDHaGjXHNa07co7io9a4rmGLuHC3gEVj9QGHi2AXWFy7cWAl4PzAYcdDYGvAon0mgGWA6wObBLYB3ABYF7CrwOITNFAPcBngcPvETw0KtgY8Li7kEYDz"
        + "ArcNHNrMpu5t6t6s7m3proTuSuqupu4O6u413b2qexy6x6t7ArqnoHtKupfSvQ7d69a9Xt3b0L053dvWvR3d29e9A93L6l5O99l0H6X7s7p/R/c5dJ9T"
        + "93l0n1f353R/Xvcxuq+h+5q6r6X7a7q/rvsZ3Y+bKHWekYiCUgIFr2OglM+zJae5kdNMiJX3EHdBHIIog6iAFAUpBtL2eerDSnQoa6Bsg4wfyQAoIsh9"
        + "UBwg40eZBgWPfZBtIGOndpBpkPGVE2QXyG6QPSB7QfaB7Ac5AHIQ5FWQ10AOgRwGOQLyOsgbIG+CHAU5BvIWyHGQEyAnQU6BjNteBmTsOgvyDsg5kPMg"
        + "F0AuglwCuQwyboe4q9ZAxk89A3ID5CbILZC7oNhB6YI8BMUNyvBu7m7+buFu6Z793vo9290iKVRJoUMKfVL2k3KANPyk4SGNAGn5SMtPmhukFSAdj5WQ"
        + "sZGem/T8pOchAx8Z+MkgQIYJMkxbyZkM2ErAuIDxAOMDJgDMKjARYARgJGjYoEFBgzbsGwYVMKhVgwoZVMSg8DZqUFsGlTColEFlDCprUDmDKhpU2aCq"
        + "BtU2qJ5B7RoUZ1CiYc8YdN+wM4a9adjbhr1r2PF217Czhp037MggG7TNoO0G7TRot0F7DTpk0OsGHTXouEGnDHpo0KxBcwbNG7RsUB2D6hvU0KB4g5IM"
        + "OmzQGwYdM+iEQafRezM9uRSijh5cE4GeWtCPCKD3JiIEBHp1UfTmonhdYM3MzObt6O0Exkup2zsY4ZRvV2/3b3O3JfSiXXvuPd9ecC+0t74X29vai+8l"
        + "91J76b3tvexebi//7/Rh+DByGD2MHSYOk4epw9xh5bB2WD9sHDYPW4ftw85h97B32D8cHO4eDg/ZQ+5QOBQPpUPliDqyHzmOnEfuu6G7W3fjdxPH/uPA"
        + "cfB49XjtOHQcPo6g/755HDtOHaePt4/b96L3tu/l7xXule/V7tXvNe6H77fvd+537/fvD+4P7/P3hfvSffm+8sD+gH7geOB84HrgfuB54P2w/mH3w96H"
        + "EslGSTZJskWSrZKdOMltkRweUyTvI/k1kt8g+TzJF0i+RPJlkq+SfI3kGyTfJvkOyXdJvkfyuyQ/JHmO5AUziigGSTFMihFSXCclkZSDpCyTikiqQVIT"
        + "ST1IGJE0gqQVJG2RdIKks2lGF12R9IKkL5BB0AwnWJawPOE8hGcJzxPBQ8QtIg6IOCQiR6QOkbpE6hOJJ7KNyHYiO4jsIrhD2IZg48AehGAaUhuQ6sN2"
        + "BLbTkKtCgYMCDwUBKjGobEE1C9UBVBWotaE2gJoANQlqCtQpqNNQd0LdB3U/MH1oOKBRhwYDjQY0a9AqQasL7SH0QtDbgN4m9BLQS0EvC70c9BrQ60OP"
        + "haENhnYY0jD0wdAPwyAMV2G4BsMQDMMw3IXhEIYcDHkYCjAUYSjBUIahotMhnY7o9IZOb+l0Uqd3dLqo02Wdruh0VadrOs3odFvvtfSBog+zhq1m2OqG"
        + "jTFsDcOGyyl+Em+dxPsnicxJsn2SdZ1kmZO84ySfPSnUT4rrJ6XeSdl2Umuf1Lontf5JbXhSk0/q1El996TVmDOZOZuds+U521yE3NIi5M8uQsHdRagS"
        + "RKwhWASH4BHKIlQvIkqLUL+wCPH1RUhyITwIPyKAwHqyHUEjHAjnIky5EBg8UQouSe4suLIheouwE+HGa7dvEfYMELuLsL+KqGHghUszGESUEFg/bEdg"
        + "W+HMIryO1+s0Ll9sM4b1t/CcwLqJ4SKcwmWfxX6y2E8Bg7Ui8pWzi3ClvwhX3YtwLb4It5F/gG0MHIvwbmwRrbcXUQahtBfJbmaRdhYRZUQD0UQIi7TL"
        + "ifAhaou0177I2GwIDyKJyCNKi4yjvcj4mouMn1lk8qFFpuhA+J753NLlpaUry5eXP3nl8nNLS5cuLV/CB8tmWV761BV8e2lp6dlnzbsLv0c3z118unzF"
        + "fLNy+bS2xbd8yby6dM6xgofLVy9dubR06fKVK5+2+C6Zby9ZtR9r+lFfy0uXrWL9Lp82jvUusD63dMWU0Wzjsnm/YjVsDmxpxRQMjxb3nz5sf3n58qVT"
        + "KZfNMX7+9NnSJ5bNR5+9dCa9xb2CrS1dOe/q8jKO6bQX6/dQDOzkytJP0tLy0pUVSxNXnkOBLq18ZmX5ysrS5ZVnl55RSxiRpxDmv7W+UyzhqaS2EakL"
        + "qFjHqlo7Q+nCu8xjnBnz381PfPKXPvXpX/6Vz3z2V3/tc7/+G7/5W+a7z6ql3/+Dz//O7/4eHv/wjy62/8cPmzt78CdP9P40XLwq/cTnD4H9Prpdufro"
        + "vHLVJCyv/gOerl598+p3fnDV/E/RpK2b1E37TQfCrpasSlgFKyIf3hRwsGdtXn2sv9SPd2X2opaWzh8vPZT6nLdm/TPss3RdwKuEpe+H7GY5PTyqbTad"
        + "QOYKypF97lwLp7Klrlo9P9TO1au//WPime1cfbrKTG2snEp+dWXlrL2HT06LpTLziJI9u6RuLak5y5guzspFMjXyzJ5tj9qj9xx7/T156ibFLVKMk2KC"
        + "FJOkmCLFNClmSHGblFOknCblbVLpkcouqcZJNUGqSVLNkEaKNNJEookUJFKESDEipYhUJVKPSAMi7RKJJTJF5HUip4mcI3KZyAzBgF3CIKkH0gCkIUh4"
        + "K4AkgSyALIOCQZUflHVQkqDkQamD0gQF3WQM8wVQJN1m022U7ijpjpruqOuBqh6o6fXUnEnPme05U5sz9TnDzBn8fDTnTGvOtOdMZ85050xvzvTnzGDO"
        + "7M4Zds5wc4afM8KcEeeMPG/Y5g1q3qDnDce84Zo33POGZ97wzhu+ecM/bwTmjeC8sYpbrbn9biOyiB1EDpFHFHDrNbdhESEhZISySLttz1j/WK3f9vyI"
        + "+7ObQ1LYJIUoKcRIIUUKO6SQI4U6KbRIaYeUcqTUIpUuqbCkEiWVGKmkSKVOmB3C5IhkJ1KASGEiRYmUJJLN8j06RO4SuWddRIicIvIOkUtErhM59ER6"
        + "yTXlrORTaOqbtqerU+c/TgPTtZt93WbXbfS0+iXVadg8hs2r19NH8aPuUfWoaqnAexSyKHwUOVo/2jjaPIoebSFH4ih5lDrKHGWPdo7yR4Wj0lH5qIK1"
        + "asgRxneoEmcMsXWmsifg4hD8BbVZ52dws7xN4eFRMviJUjovlR8rjFXk4eNlcOaimf7ZaXmSYenpv9ss+sZDyxdGWB6y+DMQd6iYdPbNLp59r1uINqKD"
        + "6D7x7vx96z8ANF7trg==";
}
