#!/usr/bin/env bash
# The main job: fine-tunes on captioned clips, then generates videos with the saved model in a second process.
#
#   build/run.sh [--prompts FILE] [--clips FOLDER] [--model PATH] [--layout stream-parallel|layer-parallel|serial] [--steps N]
#                [--frames N] [--seed N] [--out FOLDER]
#                [--checkpoints FOLDER [--checkpoint-every N] [--resume]]
#                [--options FILE] [--cache FOLDER]
#
#   mpirun -n N build/run.sh ...
#
# does the same by N processes, on one machine or many; samples/CLUSTERS.md says how. Of those on a machine the first builds, and the others wait. Where machines share the
# folder, build once before, by build/run.sh --help, and set MOBIUS_IS_BUILT=1 in the job.
#
# The README describes the options and what is written.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

job=$root/samples/MainJob/bin/Release/net10.0/Microsoft.ML.Mobius.Samples.MainJob.dll

prepare() {
    need_dotnet
    need_ffmpeg
    [[ -n ${MOBIUS_IS_BUILT:-} ]] || build samples/MainJob/Microsoft.ML.Mobius.Samples.MainJob.csproj
}

if [[ ${OMPI_COMM_WORLD_SIZE:-1} -gt 1 ]]; then
    prepare_job() {
        prepare
        env -u OMPI_COMM_WORLD_SIZE dotnet "$job" draw "$@"
    }
    once_per_job prepare_job "$@"
    # One program, for mpirun lets each process join the others but once; and in place of this one, so that mpirun's signals reach it.
    exec dotnet "$job" all "$@"
fi

prepare
handing_on_signals dotnet "$job" fit "$@"
for argument in "$@"; do
    case $argument in -h | -\? | --help) exit ;; esac
done
echo "Generating ..."
handing_on_signals dotnet "$job" generate "$@"
echo "Done in $((SECONDS / 60)) min $((SECONDS % 60)) s."
