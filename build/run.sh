#!/usr/bin/env bash
# The main job: fine-tunes on captioned clips, then generates videos with the saved model in a second process.
#
#   build/run.sh [--prompts FILE] [--clips FOLDER] [--model PATH] [--layout stream-parallel|layer-parallel|serial] [--steps N]
#                [--frames N] [--seed N] [--out FOLDER]
#                [--checkpoints FOLDER [--checkpoint-every N] [--resume]]
#                [--options FILE] [--cache FOLDER]
#
# The README describes the options and what is written.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

need_dotnet
need_ffmpeg
build samples/MainJob/Microsoft.ML.Mobius.Samples.MainJob.csproj

job=$root/samples/MainJob/bin/Release/net10.0/Microsoft.ML.Mobius.Samples.MainJob.dll
handing_on_signals dotnet "$job" fit "$@"
for argument in "$@"; do
    case $argument in -h | -\? | --help) exit ;; esac
done
echo "Generating ..."
handing_on_signals dotnet "$job" generate "$@"
echo "Done in $((SECONDS / 60)) min $((SECONDS % 60)) s."
