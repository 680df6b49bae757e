# Sourced by the other scripts: strict bash, the settings that the programs run under, and what they need installed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
# A thread that waits for work looks for it some microseconds before it sleeps: sleeping at once costs more than most layers of a small model
# take, and never sleeping takes the cores from those that have work.
[[ -n ${OMP_WAIT_POLICY:-} ]] || export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-20000}
# The newest instructions are slower than these on small matrices, and results would differ from one processor to the next.
export ONEDNN_MAX_CPU_ISA=${ONEDNN_MAX_CPU_ISA:-AVX512_CORE_BF16}

fail() {
    echo "$*" >&2
    exit 1
}

need_dotnet() {
    local newest
    newest=$(dotnet --list-sdks 2>/dev/null | sort -V | tail -n 1 | cut -d . -f 1) || newest=
    [[ ${newest:-0} -ge 10 ]] || fail ".NET SDK 10 is missing. Install it, for this user and without root, with
    curl -sSL https://dot.net/v1/dotnet-install.sh | bash -s -- --channel 10.0
    export PATH=\"\$HOME/.dotnet:\$PATH\"
or see https://dotnet.microsoft.com/download/dotnet/10.0."
    [[ $(dotnet --list-runtimes) == *Microsoft.AspNetCore.App* ]] || fail "The ASP.NET Core runtime, which a whole SDK brings, is missing beside
the .NET SDK: install your system's package of it, as aspnetcore-runtime-10.0, or the SDK by
    curl -sSL https://dot.net/v1/dotnet-install.sh | bash -s -- --channel 10.0"
}

need_ffmpeg() {
    need ffmpeg ffmpeg "Install it so that it is on the PATH (Debian and Ubuntu: apt-get install ffmpeg; macOS: brew install ffmpeg; Windows: winget install ffmpeg)."
}

need_mpirun() {
    need mpirun openmpi-bin "Install Open MPI 4 (Debian and Ubuntu: apt-get install openmpi-bin)."
}

# need PROGRAM PACKAGE HOW: installs the package with apt where the program is missing, or fails and says how to install it.
need() {
    command -v "$1" >/dev/null && return
    command -v apt-get >/dev/null || fail "$1 is missing. $3"
    local as_root=()
    if [[ $(id -u) -ne 0 ]]; then
        command -v sudo >/dev/null || fail "$1 is missing, and only root may install it here. $3"
        as_root=(sudo)
    fi
    echo "Installing $2 ..."
    quietly "${as_root[@]}" apt-get update
    quietly "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$2"
}

# Runs a command and shows what it printed only if it fails.
quietly() {
    local log
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        fail "Failed: $*"
    fi
    rm -f "$log"
}

# build PROJECT: restores and builds a project or solution and what it needs.
build() {
    echo "Building $1 ..."
    quietly dotnet build "$root/$1" -c Release -v quiet
}

# once_per_job COMMAND: of several processes that one mpirun started on a machine the first runs it, and the others wait until that is done.
once_per_job() {
    local done_for=${TMPDIR:-/tmp}/mobius-job-$(id -u)
    exec 9>>"$done_for"
    flock 9
    if [[ $(cat "$done_for") != "$PMIX_NAMESPACE" ]]; then
        "$@"
        echo "$PMIX_NAMESPACE" >"$done_for"
    fi
    exec 9>&-
}

# handing_on_signals PROGRAM ARGUMENTS: for a program that saves when it is asked to end. bash itself would end on SIGTERM and leave it running.
handing_on_signals() {
    local program status=0
    set -m                                   # a group of its own, or the program would ignore Ctrl-C
    "$@" </dev/null &
    program=$!
    set +m
    trap "kill -INT $program" INT
    trap "kill -TERM $program" TERM
    wait "$program" || status=$?
    while kill -0 "$program" 2>/dev/null; do # a signal ended the waiting
        status=0
        wait "$program" || status=$?
    done
    trap - INT TERM
    return "$status"
}
