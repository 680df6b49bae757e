#!/usr/bin/env bash
# Measures what training and generating cost, each measurement in a process of its own.
#
#   build/bench.sh training [--size small|medium|full] [--quick] [--arms ARM,...] [--device cpu|cuda] [--out FOLDER]
#   build/bench.sh growth   [--size small|medium|full] [--quick] [--arms ARM,...] [--out FOLDER]
#   build/bench.sh sampling [--size small|medium|full] [--quick] [--arms ARM,...] [--out FOLDER]
#   build/bench.sh quality  [--clips FOLDER] [--arms ARM,...] [--seeds 0,1,2] [--steps N] [--out FOLDER]
#   build/bench.sh profile  [--size small|medium|full] [--arm ARM] [--out FOLDER]
#   build/bench.sh reference [--quick] [--pytorch FILE.json] [--out FOLDER]
#   build/bench.sh curves   --logs FOLDER --out FILE.png
#   build/bench.sh scaling  [--quick] [--out FOLDER]
#   build/bench.sh publish [FOLDER]
#
# Results are tables for people (.md), numbers for programs (.json) and plots, in out/bench. It computes with 2 threads unless OMP_NUM_THREADS says
# otherwise. The allocator's settings are left as they are: those that users have.
# Reference prints beside its cases what they took in PyTorch, measured on the same machine, where a file has that:
#   { "denoising": { "cpuSeconds": 3.2, "peakMebibytes": 410, "about": "diffusers 0.25.1, PyTorch 1.13.1, passive waiting" }, ... }
# Publish puts the results in FOLDER, out/bench unless told, among the dated reports of the benchmarks project and draws the README's plots anew.

# A thread that looks for work while there is none would be counted as if it worked.
export OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

need_dotnet
build test/Microsoft.ML.Mobius.Benchmarks/Microsoft.ML.Mobius.Benchmarks.csproj
MOBIUS_COMMIT=$(git -C "$root" describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null || echo unknown)
export MOBIUS_COMMIT

# Names a report by its date, what was measured, and of which sizes.
publish() {
    local from=$1 reports=$root/test/Microsoft.ML.Mobius.Benchmarks/Reports report name date sizes
    compgen -G "$from/*.md" >/dev/null || fail "There are no results in '$from'."
    for report in "$from"/*.md; do
        name=$(basename "$report" .md)
        date=$(grep -m 1 -oE '[0-9]{4}-[0-9]{2}-[0-9]{2}' "$report") || fail "'$report' has no date."
        sizes=
        [[ $name == training ]] && sizes=$(sed -n 's/^## /-/p' "$report" | tr -d '\n')
        cp "$report" "$reports/$date-$name$sizes.md"
        [[ ! -f $from/$name.json ]] || cp "$from/$name.json" "$reports/$date-$name$sizes.json"
    done
    bench plots --reports "$reports" --out "$root/build/images"
}

bench() {
    exec dotnet "$root/test/Microsoft.ML.Mobius.Benchmarks/bin/Release/net10.0/Microsoft.ML.Mobius.Benchmarks.dll" "$@"
}

# Root may not start mpirun unless it says so.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
[[ ${1:-} != scaling ]] || need_mpirun
[[ ${1:-} != quality ]] || need_ffmpeg

if [[ ${1:-} == publish ]]; then
    publish "${2:-out/bench}"
else
    bench "$@"
fi
