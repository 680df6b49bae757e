#!/usr/bin/env bash
# Builds everything and runs the tests.
#
#   build/test.sh [--all] [further arguments of dotnet test]
#   build/test.sh --golden FOLDER
#
# Without --all, tests of the category Heavy are left out (unless a --filter of your own says otherwise).
# With --golden, only the cases of reference data under FOLDER are run, one folder each, and a line is printed for each: its name, the worst relative
# error, and pass, fail or not yet.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

project=$root/test/Microsoft.ML.Mobius.Tests/Microsoft.ML.Mobius.Tests.csproj
filter=(--filter "TestCategory!=Heavy")
case ${1:-} in
    --all)
        filter=()
        shift
        ;;
    --golden)
        [[ -d ${2:-} ]] || fail "--golden needs a folder, but '${2:-}' is none."
        MOBIUS_GOLDEN=$(cd "$2" && pwd)
        MOBIUS_GOLDEN_REPORT=$(mktemp)
        export MOBIUS_GOLDEN MOBIUS_GOLDEN_REPORT
        ;;
esac
for argument in "$@"; do
    [[ $argument == --filter* ]] && filter=()
done

need_dotnet
if [[ -z ${MOBIUS_GOLDEN_REPORT:-} ]]; then
    need_ffmpeg
    build Microsoft.ML.Mobius.sln
    dotnet test "$project" -c Release --no-build "${filter[@]}" "$@"
    exit
fi

build test/Microsoft.ML.Mobius.Tests/Microsoft.ML.Mobius.Tests.csproj
log=$(mktemp)
trap 'rm -f "$log" "$MOBIUS_GOLDEN_REPORT"' EXIT
status=0
dotnet test "$project" -c Release --no-build --filter TestCategory=Golden >"$log" 2>&1 || status=$?
cat "$MOBIUS_GOLDEN_REPORT"
counted() { awk -v status="$1" '$3 == status' "$MOBIUS_GOLDEN_REPORT" | wc -l; }
# A run that ended badly, though no case says so, did not get to its cases.
[[ $status -eq 0 || $(counted fail) -gt 0 ]] || cat "$log"
[[ $(counted not) -eq 0 ]] || echo "$(counted not) not yet"
echo "$(counted pass) passed, $(counted fail) failed"
exit "$status"
