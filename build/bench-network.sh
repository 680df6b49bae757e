#!/usr/bin/env bash
# Measures how fast two processes sum over a network of a given rate: two network namespaces with an address each, on this machine, and Open MPI between them.
#
#   build/bench-network.sh RATE [FOLDER]
#
# RATE is that of tc, as 1gbit or 10gbit. The result is FOLDER/network-RATE.json, in out/bench unless told, which build/bench.sh scaling takes up. Needs root,
# and that build/bench.sh was run before, which builds.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

rate=${1:?RATE is missing, as 1gbit}
folder=${2:-out/bench}
program=$root/test/Microsoft.ML.Mobius.Benchmarks/bin/Release/net10.0/Microsoft.ML.Mobius.Benchmarks.dll
[[ $(id -u) -eq 0 ]] || fail "Only root can make network namespaces."
[[ -f $program ]] || fail "Run build/bench.sh scaling first: it builds the program that measures."
for tool in ip tc; do
    command -v "$tool" >/dev/null || fail "$tool is missing (Debian and Ubuntu: apt-get install iproute2)."
done
need_mpirun
mkdir -p "$folder"

names=("mobius-a-$$" "mobius-b-$$") addresses=(10.77.0.1 10.77.0.2) ends=(mobius0 mobius1)
agent=$(mktemp)
remove() {
    rm -f "$agent"
    ip netns del "${names[0]}" 2>/dev/null || true
    ip netns del "${names[1]}" 2>/dev/null || true
}
trap remove EXIT
ip netns add "${names[0]}"
ip netns add "${names[1]}"
ip link add "${ends[0]}" netns "${names[0]}" type veth peer name "${ends[1]}" netns "${names[1]}"
for i in 0 1; do
    ip -n "${names[i]}" addr add "${addresses[i]}/24" dev "${ends[i]}"
    ip -n "${names[i]}" link set lo up
    ip -n "${names[i]}" link set "${ends[i]}" up
    ip netns exec "${names[i]}" tc qdisc add dev "${ends[i]}" root tbf rate "$rate" burst 2mb latency 50ms
done

# What ssh is between machines.
cat >"$agent" <<END
#!/usr/bin/env bash
shift
exec ip netns exec "${names[1]}" bash -c "\$*"
END
chmod +x "$agent"

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
ip netns exec "${names[0]}" mpirun --host "$(IFS=,; echo "${addresses[*]}")" -n 2 --bind-to none \
    --mca plm_rsh_agent "$agent" --mca btl tcp,self --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 \
    "$(command -v dotnet)" "$program" reduce "two network namespaces, $rate" "$folder/network-$rate.json"
cat "$folder/network-$rate.json"
