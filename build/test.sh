#!/usr/bin/env bash
# Builds everything and runs the tests.
#
#   build/test.sh [--all] [further arguments of dotnet test]
#   build/test.sh --golden FOLDER
#
# Without --all, tests of the category Heavy are left out (unless a --filter of your own says otherwise).
# With --golden, only the cases of reference data under FOLDER are run, each a folder, and a line is printed for each: its name, the worst relative
# error, and pass, fail or not yet.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

project=test/Microsoft.ML.Mobius.Tests/Microsoft.ML.Mobius.Tests.csproj

golden_cases() {
    local report log status=0
    [[ -d $1 ]] || fail "--golden needs a folder, but '$1' is none."
    report=$(mktemp)
    log=$(mktemp)
    trap "rm -f '$report' '$log'" EXIT
    counted() { awk -v status="$1" '$3 == status' "$report" | wc -l; }

    build "$project"
    MOBIUS_GOLDEN=$(cd "$1" && pwd) MOBIUS_GOLDEN_REPORT=$report \
        dotnet test "$root/$project" -c Release --no-build --filter TestCategory=Golden >"$log" 2>&1 || status=$?
    cat "$report"
    # A run that ended badly, though no case says so, did not get to its cases.
    [[ $status -eq 0 || $(counted fail) -gt 0 ]] || cat "$log" >&2
    [[ $(counted not) -eq 0 ]] || echo "$(counted not) not yet"
    echo "$(counted pass) passed, $(counted fail) failed"
    return $status
}

filter=(--filter "TestCategory!=Heavy")
need_dotnet
case ${1:-} in
    --all)
        filter=()
        shift
        ;;
    --golden)
        golden_cases "${2:-}"
        exit
        ;;
esac
for argument in "$@"; do
    [[ $argument == --filter* ]] && filter=()
done

need_ffmpeg
# Tests of several processes are inconclusive without it: where it cannot be installed, the others are still worth running.
(need_mpirun) || true
build Microsoft.ML.Mobius.sln
dotnet test "$root/$project" -c Release --no-build "${filter[@]}" "$@"
