#!/usr/bin/env bash
# Measures linger against a minimal single-thread C epoll echo server, both driven by the same load
# generator (benches/baseline/), with a bar for each figure; under attack (benches/attack/), with bars on
# what others see of it; and beside other people's servers (benches/compare/), without. Everything runs on the loopback addresses, bounded in count and in time;
# all that is started is stopped. `scripts/bench.sh --help` says how to use it.
#
# Read next: `main` at the end; scripts/bench/parts.sh, whose part_* functions are the blocks of the table.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root bin=$root/target/bench

usage() {
    cat <<'HELP'
usage: scripts/bench.sh [OPTION]...

Builds the C baseline and linger, measures both in turn, and prints a table with a verdict for each bar. Two parts
print something of their own: "attack" plays attacks on linger and measures what its other clients see meanwhile
(`python3 benches/attack --help` lists them, with the bars); "others" measures linger beside Redis, nginx, HAProxy,
mosquitto and the baseline, as far as they are installed and can do the same work, and writes benches/RESULTS.md with
ratios and plots (quick: target/bench/RESULTS.md; `python3 benches/compare --help` says what more it can do). Of these,
only fan-out, the gateway and TLS have bars; "fanout", "gateway" and "tls" measure one of them alone, and put its section
into the page. The gateway is measured beside a minimal C relay, HAProxy and nginx, with TLS beside the last two.

  --quick             fewer and shorter rounds: about 5 min instead of 25; figures are rougher
  --only PART[,PART]  of: echo, churn, syscalls, instructions, memory, idle, heartbeat, audit, attack,
                      fanout, gateway, tls, others (default: all)
  --attack NAME,...   these of the attacks
  --strict            a missed bar on a timing ratio fails too (they are noisy: use a quiet machine)
  --server CMD        the echo server to measure in all parts but the last eight, which are about what
                      only linger has, and about others; {port} stands for its port, on 127.0.0.1
                      (default: target/release/linger serve --listen echo://127.0.0.1:{port} ...)
  --resp-server CMD   the same for RESP; must answer `IDENT dev1` with a line
  --rounds N          rounds of the timed parts (15; quick 5; others: 5; quick 3)
  --seconds T         length of one timed measurement (1; quick 0.5; others: 1; quick 0.3)
  --cpus LOAD,SERVER  where the load generator and the servers are pinned (0,1)
  --keep DIR          keep the raw counts there: strace and callgrind output, samples of each round
  --help

Timed figures are medians of ratios taken within a round, because absolute rates drift; a round in which
another process held one of the two cpus for over 10 % of the time is left out. System calls and instructions
are differences between two runs of exact counts, so start-up cancels. Memory is the growth of the resident
set per idle connection, each of which has sent a line and got its answer. Where it is allowed, all of it
runs in a network namespace of its own.

Exit status: 0 all bars held, 1 a bar was missed or could not be measured, 2 usage or a failed build.
A part whose tool is missing (strace, valgrind) is skipped and does not fail.
HELP
}

# ---- What is asked for -------------------------------------------------------------------------------

readonly all_parts="echo churn syscalls instructions memory idle heartbeat audit attack fanout gateway tls others"
readonly linger=$root/target/release/linger
parts=$all_parts
quick=no strict=no
keep='' rounds='' seconds=''
load_cpu=0 server_cpu=1
server="$linger serve --listen echo://127.0.0.1:{port} --admin off --log off"
resp_server="$linger serve --listen resp://127.0.0.1:{port} --admin off --log off"
readonly baseline="$bin/echo 127.0.0.1 {port}"
build_linger=no server_given=no resp_given=no
others=() attacks=()

# shellcheck source=scripts/bench/host.sh
source "$root/scripts/bench/host.sh"
# shellcheck source=scripts/bench/parts.sh
source "$root/scripts/bench/parts.sh"

die() {
    echo "bench: $*" >&2
    exit 2
}

say() { echo "bench: $*" >&2; }

parse_arguments() {
    while (($# > 0)); do
        case $1 in
            --help | -h) usage; exit 0 ;;
            --quick) quick=yes; shift; continue ;;
            --strict) strict=yes; shift; continue ;;
            --only | --attack | --server | --resp-server | --rounds | --seconds | --cpus | --keep)
                (($# > 1)) || die "$1 needs a value" ;;
            *) die "unknown option $1; see --help" ;;
        esac
        case $1 in
            --only) parts=${2//,/ } ;;
            --attack) attacks+=(--attack "$2") ;;
            --server) server=$2 server_given=yes ;;
            --resp-server) resp_server=$2 resp_given=yes ;;
            --rounds) rounds=$2 ;;
            --seconds) seconds=$2 ;;
            --cpus) load_cpu=${2%,*} server_cpu=${2#*,} others+=(--cpus "$2") attacks+=(--cpus "$2") ;;
            --keep) keep=$2 ;;
        esac
        shift 2
    done
    local part
    for part in $parts; do
        [[ " $all_parts " == *" $part "* ]] || die "unknown part $part; the parts are: $all_parts"
    done
    if [[ -n $rounds ]]; then others+=(--rounds "$rounds"); fi
    if [[ -n $seconds ]]; then others+=(--seconds "$seconds"); fi
    if [[ $quick == yes ]]; then
        others+=(--quick) attacks+=(--quick)
        : "${rounds:=5}" "${seconds:=0.5}"
        requests=(1000 6000) lives=(500 3000)
    else
        : "${rounds:=15}" "${seconds:=1}"
        requests=(5000 25000) lives=(2000 12000)
    fi
    [[ $rounds =~ ^[1-9][0-9]?$ ]] || die "--rounds is a number from 1 to 99"
    [[ $seconds =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "--seconds is a number"
    # linger is built when one of its own commands will be run.
    if wants others || wants fanout || wants gateway || wants tls || wants attack || [[ $server_given == no ]] || { [[ $resp_given == no ]] && wants memory; }; then build_linger=yes; fi
}

wants() { [[ " $parts " == *" $1 "* ]]; }

build() {
    mkdir -p "$bin"
    cc -O2 -Wall -Wextra -o "$bin/echo" "$root/benches/baseline/echo.c" || die "the baseline does not build"
    cc -O2 -Wall -Wextra -o "$bin/load" "$root/benches/baseline/load.c" || die "the load generator does not build"
    if [[ $build_linger == yes ]]; then
        (cd "$root" && cargo build --release --quiet) || die "linger does not build"
    fi
}

# ---- The table ----------------------------------------------------------------------------------------

table=() notes=() failed=no

# row WHAT BAR SERVER BASELINE MEASURED SPREAD VERDICT
row() {
    table+=("$(printf '%-40s %-8s %11s %11s %9s %-13s %s' "$@")")
    say "$1: $5 ${2:+(bar $2) }$7"
}

# A bar on a number of our own, of a kind that does not depend on the machine's mood.
hard_row() { # WHAT BAR SERVER BASELINE
    local verdict=ok
    if [[ $3 == failed ]] || ! holds "$3 $2"; then verdict=MISSED failed=yes; fi
    row "$1" "$2" "$3" "$4" "$3" "" "$verdict"
}

# A bar on a ratio of timings.
soft_row() { # WHAT BAR SERVER BASELINE RATIO SPREAD
    local verdict=ok
    if [[ $disturbed == yes ]]; then
        verdict="not judged: cpu shared"
    elif ! holds "$5 $2"; then
        verdict="missed (timing: see --strict)"
    fi
    if [[ $strict == yes && $verdict != ok ]]; then verdict=${verdict/missed*/MISSED} failed=yes; fi
    row "$1" "$2" "$3" "$4" "$5" "$6" "$verdict"
}

# A bar on a time of our own.
soft_bar() { # WHAT BAR MEASURED
    local verdict=ok
    if ! holds "$3 $2"; then
        verdict="MISSED"
        if [[ $strict == yes ]]; then failed=yes; else verdict="missed (fails only with --strict)"; fi
    fi
    row "$1" "$2" "$3" "-" "$3" "" "$verdict"
}

info_row() { row "$1" "" "$3" "$4" "$5" "$6" ""; }

skip_part() { table+=("$(printf '%-40s skipped: %s' "$1" "$2")"); say "$1: skipped: $2"; }

fail_part() { table+=("$(printf '%-40s FAILED: %s' "$1" "$2")"); failed=yes; say "$1: FAILED: $2"; }

print_table() {
    echo
    printf '%-40s %-8s %11s %11s %9s %-13s %s\n' "what" "bar" "server" "C baseline" "measured" "rounds" "verdict"
    printf '%s\n' "${table[@]}"
    echo
    printf '%s\n' "${notes[@]}"
}

# ---- All of it -----------------------------------------------------------------------------------------

describe_machine() {
    notes+=("Linux $(uname -r), $(nproc) cpus, congestion control \
$(cat /proc/sys/net/ipv4/tcp_congestion_control 2>/dev/null || echo unknown), load average $(cut -d ' ' -f 1 /proc/loadavg); \
$rounds rounds of $seconds s; measured: ratio of timings (median, and range, over the rounds), otherwise the server's own number.")
}

# Runs this script once more in a network namespace of its own, where that is allowed: its ports collide
# with nobody's, and the TIME_WAITs of its clients do not fill the host's table.
enter_namespace() {
    [[ -z ${LINGER_BENCH_NAMESPACE-} ]] || { ip link set lo up; return; }
    local options=(--net)
    ((EUID == 0)) || options+=(--map-root-user)
    if command -v ip >/dev/null && unshare "${options[@]}" ip link set lo up 2>/dev/null; then
        LINGER_BENCH_NAMESPACE=1 exec unshare "${options[@]}" -- "${BASH_SOURCE[0]}" "$@"
    fi
    say "no network namespace of its own can be had: running in the host's"
}

main() {
    parse_arguments "$@"
    [[ -n ${LINGER_BENCH_NAMESPACE-} ]] || build
    enter_namespace "$@"
    work=$(mktemp -d)
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    # The same for both servers, and for the tools around them.
    ulimit -Sn "$(ulimit -Hn)"
    choose_pins
    describe_machine
    local part
    for part in $all_parts; do
        if wants "$part"; then
            say "part: $part"
            "part_$part"
        fi
    done
    print_table
    [[ $failed == no ]]
}

main "$@"
