#!/usr/bin/env bash
# Measures what training and generating cost, each measurement in a process of its own.
#
#   build/bench.sh training [--size small|medium|full] [--quick] [--arms ARM,...] [--out FOLDER]
#   build/bench.sh growth   [--size small|medium|full] [--quick] [--arms ARM,...] [--out FOLDER]
#   build/bench.sh sampling [--size small|medium|full] [--quick] [--arms ARM,...] [--out FOLDER]
#   build/bench.sh profile  [--size small|medium|full] [--arm ARM] [--out FOLDER]
#
# Results are tables for people (.md), numbers for programs (.json) and plots, in out/bench. It computes with 2 threads unless OMP_NUM_THREADS says
# otherwise. The allocator's settings are left as they are: those that users have.

# A thread that looks for work while there is none would be counted as if it worked.
export OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

need_dotnet
build test/Microsoft.ML.Mobius.Benchmarks/Microsoft.ML.Mobius.Benchmarks.csproj
MOBIUS_COMMIT=$(git -C "$root" describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null || echo unknown)
export MOBIUS_COMMIT
exec dotnet "$root/test/Microsoft.ML.Mobius.Benchmarks/bin/Release/net10.0/Microsoft.ML.Mobius.Benchmarks.dll" "$@"
