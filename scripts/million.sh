#!/usr/bin/env bash
# A million connections on one machine: `scripts/million.sh --help` says how to use it.
#
# Read next: `main` at the end; `hold` is the experiment, the same in many processes and in one; `hold_pairs` is that
# through gateways.
set -euo pipefail

self=$(readlink -f "${BASH_SOURCE[0]}")
root=$(dirname "$(dirname "$self")")
readonly self root linger=$root/target/release/linger
# Of one process: descriptors that are nobody's connection, and room for an uneven share.
readonly spare=2000

usage() {
    cat <<'HELP'
usage: scripts/million.sh [OPTION]...

Opens a million connections over loopback, lets a heartbeat run on each of them, makes 1 % of the clients vanish
without a packet, and shows that all of these and only these are reported lost, in time; with the memory and the
processor time that it took. Where a process may not open as many descriptors, many workers share the port
(`linger serve --workers`), and many processes play the clients (`linger load --procs`).

  -c, --connections N   how many (1000000)
  --heartbeat T         how often each client is heard, in seconds (60)
  --vanish PERCENT      who vanishes (1)
  --duration T          how long all are held, in seconds; who vanishes does so meanwhile (120)
  --ramp RATE           connections opened a second (20000)
  --workers N           server processes (as many as RLIMIT_NOFILE asks for)
  --procs N             client processes (as many as RLIMIT_NOFILE asks for)
  --one-process         one server process, one client process. Where RLIMIT_NOFILE does not allow it, in a guest:
                        User-Mode Linux (Debian: user-mode-linux), which is several times slower and has an older
                        kernel, so it shows that it works and what memory it takes, not how fast it is. There, the
                        defaults are --heartbeat 1200 --duration 200 --ramp 5000, and keepalive, after ten minutes, finds who
                        vanished.
  --pairs               through gateways: clients, `linger serve` with a listener tcp://, echo servers behind it. -c is the
                        number of pairs (500000); --heartbeat is what the listener promises (240): each client is heard
                        twice in it; --workers are the gateways, of which each holds two descriptors a pair. Those who
                        vanish do so at once, and --duration is long enough to see it (--heartbeat + 60)
  --backends N          processes of echo servers, with --pairs (as many as RLIMIT_NOFILE asks for)
  --quick               20,000 connections in two processes on each side, --heartbeat 3 --duration 6; with --pairs 10,000
                        pairs in two gateways, --heartbeat 16 --duration 30
  --keep DIR            keep the logs and the result of `linger load --json` there
  --help

Exit status: 0 all held, and all verdicts were right; 1 not so; 2 usage, or something is missing.
Takes about 7 KB of memory for each connection, both ends together: 7 GB for a million, and up to 15 in a guest; and
about 14 KB for each pair. A million takes four minutes, and half an hour in a guest. Needs cargo, curl, awk, pgrep and ip.
HELP
}

die() {
    echo "million: $*" >&2
    exit 2
}

say() { echo "million: $*" >&2; }

# ---- What is asked for --------------------------------------------------------------------------------

temporary=no
connections='' heartbeat='' vanish=1 duration='' ramp='' workers='' procs='' backends=''
one=no inside=no keep='' pairs=no quick=no

# number NAME VALUE: a whole number above zero, or an end.
number() {
    [[ $2 =~ ^[1-9][0-9]{0,8}$ ]] || die "$1 takes a whole number above 0, not \"$2\""
}

parse() {
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help) usage; exit 0 ;;
            --one-process) one=yes; shift; continue ;;
            --inside) inside=yes; shift; continue ;;
            --pairs) pairs=yes; shift; continue ;;
            --quick) quick=yes; shift; continue ;;
            -c | --connections | --heartbeat | --vanish | --duration | --ramp | --workers | --procs | --backends | --keep) ;;
            *) die "unknown option $1; --help lists them" ;;
        esac
        [ $# -ge 2 ] || die "$1 needs a value"
        case $1 in
            -c | --connections) number "$1" "$2"; connections=$2 ;;
            --heartbeat) number "$1" "$2"; heartbeat=$2 ;;
            --vanish)
                [[ $2 =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "--vanish takes a percentage such as 1 or 0.5, not \"$2\""
                vanish=$2
                ;;
            --duration) number "$1" "$2"; duration=$2 ;;
            --ramp) number "$1" "$2"; ramp=$2 ;;
            --workers) number "$1" "$2"; workers=$2 ;;
            --procs) number "$1" "$2"; procs=$2 ;;
            --backends) number "$1" "$2"; backends=$2 ;;
            --keep) mkdir -p "$2" || die "cannot make $2"; keep=$(readlink -f "$2") ;;
        esac
        shift 2
    done
    [ "$pairs" == yes ] || [ -z "$backends" ] || die "--backends is for --pairs"
    [ "$pairs" == no ] || [ "$one" == no ] || die "--pairs takes several processes"
}

# Fills in what was left open. Sets `guest`: whether this machine does not allow it.
settle() {
    local limit
    limit=$(ulimit -Hn)
    [ "$limit" != unlimited ] || limit=1000000000
    guest=no
    if [ "$pairs" == yes ]; then
        settle_pairs "$limit"
        return
    fi
    [ "$quick" == no ] || : "${connections:=20000}" "${heartbeat:=3}" "${duration:=6}" "${workers:=2}" "${procs:=2}"
    : "${connections:=1000000}"
    if [ "$one" == yes ]; then
        workers=1 procs=1
        [ "$inside" == yes ] || [ "$limit" -ge $((connections + spare)) ] || guest=yes
    else
        [ "$limit" -ge $((2 * spare)) ] || die "RLIMIT_NOFILE is $limit: raise the hard limit (ulimit -Hn)"
        : "${workers:=$(((connections + limit - spare - 1) / (limit - spare)))}"
        : "${procs:=$workers}"
    fi
    if [ "$guest" == yes ] || [ "$inside" == yes ]; then
        : "${heartbeat:=1200}" "${duration:=200}" "${ramp:=5000}"
    else
        : "${heartbeat:=60}" "${duration:=120}" "${ramp:=20000}"
    fi
}

# settle_pairs LIMIT: the same for gateways.
settle_pairs() {
    local limit=$1
    [ "$quick" == no ] || : "${connections:=10000}" "${heartbeat:=16}" "${duration:=30}" "${workers:=2}" "${procs:=2}"
    : "${connections:=500000}" "${heartbeat:=240}" "${duration:=$((heartbeat + 60))}" "${ramp:=5000}"
    [ "$limit" -ge $((2 * spare)) ] || die "RLIMIT_NOFILE is $limit: raise the hard limit (ulimit -Hn)"
    local each=$((limit - spare))
    : "${workers:=$(((2 * connections + each - 1) / each))}"
    : "${backends:=$(((connections + each - 1) / each))}"
    : "${procs:=$(((connections + each - 1) / each))}"
    [ "$grace" -le $((heartbeat / 2)) ] || grace=$((heartbeat / 2))
    # Who is up first says nothing until all are, and its first word may then take half a heartbeat.
    [ $((connections / ramp)) -le $((heartbeat / 2)) ] ||
        die "$connections pairs at $ramp a second are up after more than half of --heartbeat $heartbeat"
    [ "$duration" -gt $((heartbeat + grace + 2)) ] ||
        die "--duration $duration is over before anybody is given up: $heartbeat + $grace s and two more"
}

# ---- The experiment -----------------------------------------------------------------------------------

grace=15
readonly port=7000 backend_port=9001 admin=127.0.0.1:7070
server='' load='' backend=''

stop() {
    local pid
    for pid in $load $server $backend; do
        kill "$pid" 2>/dev/null || true
    done
    wait
}

# Removes what nobody asked to keep.
forget() { [ "$temporary" == no ] || rm -rf "$keep"; }

# serving PID: process ids of a server: it and its workers.
serving() { echo "$1"; pgrep -P "$1" || true; }

# cpu_ticks PID: clock ticks that a server's processes have had, user and system.
cpu_ticks() {
    local pid sum=0 stat
    for pid in $(serving "$1"); do
        stat=$(<"/proc/$pid/stat") || continue
        # After the name, which may hold spaces: utime and stime are then fields 12 and 13.
        read -ra stat <<<"${stat##*) }"
        sum=$((sum + stat[11] + stat[12]))
    done
    echo "$sum"
}

# Kibibytes of the server's own memory: not of the program's file.
server_kib() {
    local pid
    for pid in $(serving "$server"); do
        cat "/proc/$pid/smaps_rollup" 2>/dev/null || true
    done | awk '$1 == "Anonymous:" { sum += $2 } END { print sum + 0 }'
}

available_kib() { awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo; }

# Connections in this network namespace that both ends hold.
established() {
    local ends=2
    # A pair is two connections.
    [ "$pairs" == no ] || ends=4
    awk -v ends="$ends" '$1 == "Tcp:" && $2 ~ /^[0-9]/ { print int($10 / ends) }' /proc/net/snmp
}

# metric REGEX: the sum of the samples that match it.
metric() { curl -sf "http://$admin/metrics" | awk -v re="$1" '$0 ~ re { sum += $NF } END { printf "%d\n", sum }'; }

start_server() {
    # A guest has no time for a million keepalive probes a minute.
    local listen="resp://127.0.0.1:$port?heartbeat.grace=${grace}s"
    [ "$inside" == no ] || listen+="&keepalive.idle=10m"
    # shellcheck disable=SC2086 # one argument for each word
    "$linger" serve ${1:+--workers $1} --admin "$admin" --log warn,linger=warn \
        --listen "$listen" >"$keep/serve.out" 2>"$keep/serve.log" &
    server=$!
    until_ready
}

until_ready() {
    for _ in $(seq 300); do
        ! curl -sf "http://$admin/readyz" >/dev/null || return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    tail -5 "$keep/serve.log" >&2
    die "the server did not start"
}

start_load() {
    "$linger" load "resp://127.0.0.1:$port" -c "$connections" --procs "$procs" --ramp "$ramp" --rate 0 \
        --heartbeat "${heartbeat}s" --grace "${grace}s" --fault "vanish=$vanish%" --duration "${duration}s" \
        --patience "$((heartbeat + 60))s" >"$keep/load.out" 2>"$keep/load.log" &
    load=$!
}

# of_a_core TICKS MILLISECONDS
of_a_core() {
    awk -v t="$1" -v ms="$2" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.1f %% of one core", t / hz / ms * 100000 }'
}

# Connections, or pairs, that have come up.
up() {
    # Of pairs, those who are quick to vanish might not be counted by what is there.
    if [ "$pairs" == yes ]; then metric '^linger_upstream_connect_seconds_count\{'; else established; fi
}

# Waits until all are up, and says how it goes.
until_up() {
    local begun=$SECONDS now shown=0
    while :; do
        now=$(up)
        [ "$now" -lt "$connections" ] || break
        if ! kill -0 "$load" 2>/dev/null; then
            cat "$keep/load.out" "$keep/load.log" >&2
            die "the load ended before all were up"
        fi
        if [ $((SECONDS - shown)) -ge 10 ]; then
            say "$now up after $((SECONDS - begun)) s"
            shown=$SECONDS
        fi
        sleep 0.5
    done
    up_after=$((SECONDS - begun))
}

hold() {
    local free_before kib_before ticks begun held free_after kib_after lost status=0
    start_server "$([ "$workers" -eq 1 ] || echo "$workers")"
    free_before=$(available_kib) kib_before=$(server_kib)
    say "$connections connections, $workers server processes, $procs client processes"
    start_load
    until_up
    say "all up after $up_after s; ${duration} s with heartbeats, and what the server says of who vanishes"
    free_after=$(available_kib) kib_after=$(server_kib)
    begun=$(date +%s%N) ticks=$(cpu_ticks "$server")
    # Not to its end, when all are closed.
    sleep "$((duration * 9 / 10))"
    ticks=$(($(cpu_ticks "$server") - ticks)) begun=$((($(date +%s%N) - begun) / 1000000)) held=$(established)
    wait "$load" || status=$?
    # At once: a host that closes so many sockets gives some of them up without a packet (tcp_max_orphans), and a
    # minute later these are lost, too.
    load=''
    if ! lost=$(metric '^linger_ends_total\{class="lost"'); then
        lost='no answer: the server did not survive it' status=1
    fi
    cat "$keep/load.out"
    echo
    printf '%-34s %s\n' \
        "held at once" "$held, $(awk -v v="$vanish" -v n="$connections" 'BEGIN { printf "%d", n * v / 100 }') of them to vanish" \
        "server memory, each" "$(((kib_after - kib_before) * 1024 / connections)) B" \
        "all memory, both ends, each" "$(((free_before - free_after) * 1024 / connections)) B, the kernel's included" \
        "server processor time, all held" "$(of_a_core "$ticks" "$begun"), a heartbeat every $heartbeat s on each" \
        "lost, by the server's own count" "$lost"
    return "$status"
}

# Echo servers, and gateways to them. The heartbeat alone finds who vanished: keepalive timers of a minute fire many at a
# time, and loopback drops what of their probes is above net.core.netdev_max_backlog, again and again.
start_gateways() {
    "$linger" serve --workers "$backends" --admin off --log warn,linger=warn \
        --listen "echo://127.0.0.1:$backend_port?keepalive.enabled=false&user_timeout=off" >"$keep/backend.out" 2>"$keep/backend.log" &
    backend=$!
    # Half of the ports that one source address has, at most (net.ipv4.ip_local_port_range).
    local first last sources
    read -r first last </proc/sys/net/ipv4/ip_local_port_range
    sources=$((connections / ((last - first) / 2) + 1))
    local listen="tcp://127.0.0.1:$port?name=gateway&upstream=127.0.0.1:$backend_port&connect_timeout=30s"
    listen+="&heartbeat=${heartbeat}s&heartbeat.grace=${grace}s"
    listen+="&keepalive.enabled=false&user_timeout=off&upstream_keepalive=off"
    listen+="&upstream_source=$(seq -s, -f '127.2.0.%g' "$sources")"
    "$linger" serve --workers "$workers" --admin "$admin" --log warn,linger=warn \
        --listen "$listen" >"$keep/serve.out" 2>"$keep/serve.log" &
    server=$!
    until_ready
}

# Clients that say something twice in a heartbeat; some of them vanish as soon as all are up.
start_clients() {
    "$linger" load "tcp://127.0.0.1:$port" -c "$connections" --procs "$procs" --ramp "$ramp" \
        --rate "$((2 * connections / heartbeat + 1))" --unjudged --fault "vanish=$vanish%:at=1s" \
        --duration "${duration}s" --patience 60s >"$keep/load.out" 2>"$keep/load.log" &
    load=$!
}

# Endings so far of the legs of pairs: all of clients, of these the lost ones; the same of servers.
endings() {
    curl -sf "http://$admin/metrics" | awk '
        /^linger_ends_total\{listener="gateway"/ { all += $NF; if (/class="lost"/) lost += $NF }
        /^linger_upstream_ends_total\{listener="gateway"/ { upstream += $NF; if (/class="lost"/) upstream_lost += $NF }
        END { print all + 0, lost + 0, upstream + 0, upstream_lost + 0 }'
}

hold_pairs() {
    local open='^linger_upstream_connections\{'
    local gone free_before kib_before ticks behind begun held free_after kib_after ends status=0 left
    gone=$(awk -v v="$vanish" -v n="$connections" 'BEGIN { printf "%d", n * v / 100 + 0.5 }')
    start_gateways
    free_before=$(available_kib) kib_before=$(server_kib)
    say "$connections pairs, $workers gateways, $backends echo servers, $procs client processes"
    start_clients
    until_up
    say "all up after $up_after s; ${duration} s in which each is heard every $((heartbeat / 2)) s, and $gone vanish"
    free_after=$(available_kib) kib_after=$(server_kib)
    begun=$(date +%s%N) ticks=$(cpu_ticks "$server") behind=$(cpu_ticks "$backend")
    # Until all are given up who have vanished, and none of the others has closed yet.
    for _ in $(seq "$duration"); do
        sleep 1
        ends=$(endings) || break
        [ "$ends" != "$gone $gone $gone $gone" ] || break
    done
    ticks=$(($(cpu_ticks "$server") - ticks)) behind=$(($(cpu_ticks "$backend") - behind))
    begun=$((($(date +%s%N) - begun) / 1000000)) held=$(metric "$open")
    [ "$ends" == "$gone $gone $gone $gone" ] && [ "$held" -eq $((connections - gone)) ] || status=1
    wait "$load" || status=$?
    load=''
    # Those who close all at once are served by and by.
    for _ in $(seq 120); do
        left=$(metric "$open") || left='no answer: the gateways did not survive it'
        [ "$left" != 0 ] || break
        sleep 1
    done
    [ "$left" == 0 ] || status=1
    cat "$keep/load.out"
    echo
    read -r -a ends <<<"${ends:-no answer}"
    printf '%-34s %s\n' \
        "pairs held" "$held, when $gone had vanished and been given up" \
        "lost, client legs" "${ends[1]:-?} of ${ends[0]} endings" \
        "lost, legs to the servers" "${ends[3]:-?} of ${ends[2]:-?} endings" \
        "pairs left when all have closed" "$left" \
        "gateway memory, each pair" "$(((kib_after - kib_before) * 1024 / connections)) B" \
        "all memory, all four ends, each" "$(((free_before - free_after) * 1024 / connections)) B, the kernel's included" \
        "gateway processor time, all held" "$(of_a_core "$ticks" "$begun")" \
        "echo servers' processor time" "$(of_a_core "$behind" "$begun")"
    return "$status"
}

# ---- Where it runs ------------------------------------------------------------------------------------

# in_guest MEBIBYTES: in a guest with so much memory, whose root may raise the limits.
in_guest() {
    local mebibytes=$1
    command -v linux.uml >/dev/null || die "$connections descriptors need a hard RLIMIT_NOFILE above" \
        "$((connections + spare)), or User-Mode Linux to have it in: apt-get install user-mode-linux"
    say "RLIMIT_NOFILE is $(ulimit -Hn) here: a User-Mode Linux guest with $mebibytes MiB"
    # The kernel has words of its own for its first process, so ours are in a file.
    printf '#!/bin/bash\nexec "%s" --inside --one-process --keep "%s" -c %s --vanish %s --heartbeat %s --duration %s --ramp %s\n' \
        "$self" "$keep" "$connections" "$vanish" "$heartbeat" "$duration" "$ramp" >"$keep/init"
    chmod +x "$keep/init"
    # Its memory is a file below TMPDIR; its disk is this host's, of which it only writes to $keep.
    TMPDIR=/dev/shm linux.uml mem="${mebibytes}M" root=/dev/root rootfstype=hostfs rw quiet con=null con0=fd:0,fd:1 \
        init="$keep/init" </dev/null >"$keep/guest.log" 2>&1 &
    local guest=$! shown=0 lines
    trap 'kill "$guest" 2>/dev/null; wait; forget' EXIT
    while kill -0 "$guest" 2>/dev/null; do
        sleep 1
        lines=$(grep -ac '^million: ' "$keep/guest.log" || true)
        grep -a '^million: ' "$keep/guest.log" | tail -n "+$((shown + 1))" >&2 || true
        shown=$lines
    done
    [ -s "$keep/status" ] || { tail -20 "$keep/guest.log" >&2; die "the guest ended early"; }
    cat "$keep/result"
    return "$(<"$keep/status")"
}

# We are the guest's first process.
be_guest() {
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    ip link set lo up
    echo $((connections + 2 * spare)) >/proc/sys/fs/nr_open
    echo $((4 * connections)) >/proc/sys/fs/file-max
    # As `linger doctor` has it: a page each way of each. What is above the top is dropped on arrival.
    echo "$((2 * connections)) $((3 * connections)) $((4 * connections))" >/proc/sys/net/ipv4/tcp_mem
    ulimit -n $((connections + spare))
    # What the clients close at the end is not to be given up by their side.
    echo $((2 * connections)) >/proc/sys/net/ipv4/tcp_max_orphans
    # Keepalive timers of a minute fire together, seconds' worth at once (the kernel's wheel is coarse there), and
    # loopback drops what is above this.
    echo "$connections" >/proc/sys/net/core/netdev_max_backlog
    local status=0
    (hold) >"$keep/result" || status=$?
    echo "$status" >"$keep/status"
    sync
    echo o >/proc/sysrq-trigger
    sleep 60
}

main() {
    parse "$@"
    settle
    if [ "$inside" == yes ] && [ "$$" -eq 1 ]; then
        be_guest
    fi
    cargo build --quiet --locked --release --manifest-path "$root/Cargo.toml" || die "it does not build"
    local tool
    for tool in curl awk pgrep; do
        command -v "$tool" >/dev/null || die "$tool is not installed"
    done
    # Ports, counts and what is left are then nobody else's; it ends with the last process in it.
    if [ -z "${LINGER_MILLION_ISOLATED:-}" ] && unshare -n true 2>/dev/null; then
        LINGER_MILLION_ISOLATED=1 exec unshare -n "$self" "$@"
    fi
    [ -z "${LINGER_MILLION_ISOLATED:-}" ] || ip link set lo up
    # For a guest twice what they take: with half as much again its kernel killed the server while all closed at once.
    local mebibytes=$((connections * 7 / 1024 + 256))
    [ "$pairs" == no ] || mebibytes=$((connections * 14 / 1024 + 256))
    [ "$guest" == no ] || mebibytes=$((mebibytes * 2 + 512))
    [ $(($(available_kib) / 1024)) -ge "$mebibytes" ] ||
        die "$connections connections take about $mebibytes MiB, and $(($(available_kib) / 1024)) MiB are available"
    if [ -z "$keep" ]; then
        keep=$(mktemp -d) temporary=yes
    fi
    trap 'stop; forget' EXIT
    trap 'exit 130' INT TERM HUP
    rm -f "$keep/status" "$keep/result"
    if [ "$guest" == yes ]; then
        in_guest "$mebibytes"
    else
        ulimit -n "$(ulimit -Hn)"
        if [ "$pairs" == yes ]; then hold_pairs; else hold; fi
    fi
}

main "$@"
