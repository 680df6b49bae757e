#!/usr/bin/env bash
# Builds everything and runs the tests.
#
#   build/test.sh [--all] [further arguments of dotnet test]
#
# Without --all, tests of the category Heavy are left out (unless a --filter of your own says otherwise).
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

filter=(--filter "TestCategory!=Heavy")
if [[ ${1:-} == --all ]]; then
    filter=()
    shift
fi
for argument in "$@"; do
    [[ $argument == --filter* ]] && filter=()
done

need_dotnet
need_ffmpeg
build Microsoft.ML.Mobius.sln
dotnet test "$root/test/Microsoft.ML.Mobius.Tests/Microsoft.ML.Mobius.Tests.csproj" -c Release --no-build "${filter[@]}" "$@"
