#!/usr/bin/env bash
#SBATCH --job-name=mobius
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --output=mobius-%j.log
#SBATCH --requeue
# Submit from the root of the repository, on a file system that all nodes share, after building once there by build/run.sh --help:
#
#   sbatch samples/cluster/slurm.sh --clips /data/clips --options options.json --out /data/out
#
# For CPUs alone take --gpus-per-node out, and gpuDeviceId out of the options. Slurm's SIGTERM at the end of the time is handed on: rank 0 saves, and a job that is
# queued again goes on from there.
set -euo pipefail

export MOBIUS_IS_BUILT=1
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK

exec mpirun --map-by "ppr:$SLURM_NTASKS_PER_NODE:node:PE=$SLURM_CPUS_PER_TASK" --bind-to core --mca odls_base_sigkill_timeout 120 \
    -x MOBIUS_IS_BUILT -x OMP_NUM_THREADS -x MOBIUS_RANK_TIMEOUT=600 \
    build/run.sh "$@" --checkpoints "${CHECKPOINTS:-/data/checkpoints}" --resume
