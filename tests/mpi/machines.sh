# Sourced: makes two machines of network namespaces, joined by a wire, and says how to start a job of
# one rank on each. Sets `one` and `two` (the namespaces), `wire` (with `a` or `b` behind it, its
# ends), `job` (what to put before the command) and `out` (a folder that goes when the script ends);
# where namespaces cannot be made it says so and ends the script. Needs root with CAP_NET_ADMIN and
# CAP_SYS_ADMIN, iproute2 and Open MPI.

probe="vssl-probe-$$"
if ! refusal=$({ ip netns add "$probe" && ip netns exec "$probe" true; } 2>&1); then
    ip netns delete "$probe" 2>/dev/null || true
    echo "$0: skipped, no network namespaces here: ${refusal:-no ip command}"
    exit 0
fi
ip netns delete "$probe"

out=$(mktemp -d)
# Names of this run only; a name of a wire has at most 15 letters.
one=vssl-a-$$
two=vssl-b-$$
wire=vw$$

# What runs in a namespace of ours, and nothing else.
clean() {
    local space
    for space in "$one" "$two"; do
        ip netns pids "$space" 2>/dev/null | xargs -r kill -KILL 2>/dev/null || true
        ip netns delete "$space" 2>/dev/null || true
    done
    rm -rf "$out"
}
trap clean EXIT

ip netns add "$one"
ip netns add "$two"
ip link add "${wire}a" netns "$one" type veth peer name "${wire}b" netns "$two"
ip -n "$one" address add 10.77.0.1/24 dev "${wire}a"
ip -n "$two" address add 10.77.0.2/24 dev "${wire}b"
for space in "$one" "$two"; do ip -n "$space" link set lo up; done
ip -n "$one" link set "${wire}a" up
ip -n "$two" link set "${wire}b" up

# Stands in for ssh: `agent HOST COMMAND…` runs the command on the machine of that address.
cat >"$out/agent" <<AGENT
#!/bin/sh
while [ "\${1#-}" != "\$1" ]; do shift; done
host=\$1; shift
case \$host in
    10.77.0.1) space=$one ;;
    10.77.0.2) space=$two ;;
    *) echo "agent: no machine \$host" >&2; exit 1 ;;
esac
exec ip netns exec "\$space" unshare --uts sh -c "hostname \$space; \$*"
AGENT
chmod +x "$out/agent"

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
job=(ip netns exec "$one" unshare --uts sh -c 'hostname "$0"; exec "$@"' "$one"
    mpirun --host 10.77.0.1:1,10.77.0.2:1 -n 2 --bind-to none
    --mca plm_rsh_agent "$out/agent" --mca btl tcp,self --mca pml ob1
    --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24
    --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3)
