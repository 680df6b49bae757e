#!/usr/bin/env bash
# Starts a program of ours with the libtorch of an installed PyTorch, where the package of libtorch for GPUs is not to be had.
#
#   build/with-pytorch.sh PROGRAM.dll [ARGUMENTS]
#
# PyTorch is that of python3, or the folder in MOBIUS_PYTORCH (site-packages/torch). It must be of the version that the program was built for: libtorch's interface changes with
# each. The program is run from a folder of links beside it, in which PyTorch's libraries are in place of its own.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

program=${1:?PROGRAM.dll is missing}
shift
[[ -f $program ]] || fail "'$program' does not exist."
torch=${MOBIUS_PYTORCH:-$(python3 -c 'import os, torch; print(os.path.dirname(torch.__file__))' 2>/dev/null)} || torch=
[[ -n $torch && -d $torch/lib ]] || fail "python3 finds no PyTorch. Install it, or name its folder in MOBIUS_PYTORCH."

built_for=$(grep -oE 'libtorch-[a-z0-9.-]*/[0-9]+\.[0-9]+\.[0-9]+' "${program%.dll}.deps.json" | head -n 1 | sed 's|.*/||') || true
[[ -n $built_for ]] || fail "'${program%.dll}.deps.json' does not say which libtorch the program was built for."
there=$(sed -nE "s/^__version__ = '([0-9.]+[0-9]).*/\1/p" "$torch/version.py")
[[ $there == "$built_for" ]] || fail "The PyTorch in '$torch' is ${there:-of no known version}; the program was built for libtorch $built_for."

from=$(cd "$(dirname "$program")" && pwd)
links=$from-with-pytorch
native=$links/runtimes/linux-x64/native
[[ -d $from/runtimes/linux-x64/native ]] || fail "'$from' has no runtimes/linux-x64/native."
rm -rf "$links"
cp -rs "$from" "$links"
# A program looks for its assemblies where it really lies: these must be files.
find "$links" -maxdepth 1 -type l -exec sh -c 'for link; do cp --remove-destination "$(readlink -f "$link")" "$link"; done' sh {} +
rm -f "$native"/lib{torch,c10,gomp,shm,aoti,caffe2,backend,jitbackend,nnapi}*        # of libtorch; what else is there is of other libraries
ln -s "$torch"/lib/*.so* "$native"
LD_LIBRARY_PATH=$native$(printf ':%s' "$torch"/../nvidia/*/lib)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec dotnet "$links/$(basename "$program")" "$@"
