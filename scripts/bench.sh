#!/usr/bin/env bash
# Measures linger against a minimal single-thread C epoll echo server, both driven by the same load
# generator (benches/baseline/). Everything runs on the loopback addresses, bounded in count and in time;
# all that is started is stopped. `scripts/bench.sh --help` says how to use it.
#
# Read next: `main` at the end names the parts, each part_* function is one block of the table.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root bin=$root/target/bench

usage() {
    cat <<'HELP'
usage: scripts/bench.sh [OPTION]...

Builds the C baseline and linger, measures both in turn, and prints a table with a verdict for each bar.

  --quick             fewer and shorter rounds: about 45 s instead of 4 min; figures are rougher
  --only PART[,PART]  of: echo, churn, syscalls, instructions, memory, idle, heartbeat, audit (default: all)
  --strict            a missed bar on a timing ratio fails too (they are noisy: use a quiet machine)
  --server CMD        the echo server to measure in all parts but the last three, which are about what
                      only linger has; {port} stands for its port, on 127.0.0.1
                      (default: target/release/linger serve --listen echo://127.0.0.1:{port} ...)
  --resp-server CMD   the same for RESP; must answer `IDENT dev1` with a line
  --rounds N          rounds of the timed parts (15; quick 5)
  --seconds T         length of one timed measurement (1; quick 0.5)
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

readonly all_parts="echo churn syscalls instructions memory idle heartbeat audit"
readonly linger=$root/target/release/linger
parts=$all_parts
quick=no strict=no
keep='' rounds='' seconds=''
load_cpu=0 server_cpu=1
server="$linger serve --listen echo://127.0.0.1:{port} --admin off --log off"
resp_server="$linger serve --listen resp://127.0.0.1:{port} --admin off --log off"
readonly baseline="$bin/echo 127.0.0.1 {port}"
build_linger=no server_given=no resp_given=no

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
            --only | --server | --resp-server | --rounds | --seconds | --cpus | --keep)
                (($# > 1)) || die "$1 needs a value" ;;
            *) die "unknown option $1; see --help" ;;
        esac
        case $1 in
            --only) parts=${2//,/ } ;;
            --server) server=$2 server_given=yes ;;
            --resp-server) resp_server=$2 resp_given=yes ;;
            --rounds) rounds=$2 ;;
            --seconds) seconds=$2 ;;
            --cpus) load_cpu=${2%,*} server_cpu=${2#*,} ;;
            --keep) keep=$2 ;;
        esac
        shift 2
    done
    local part
    for part in $parts; do
        [[ " $all_parts " == *" $part "* ]] || die "unknown part $part; the parts are: $all_parts"
    done
    if [[ $quick == yes ]]; then
        : "${rounds:=5}" "${seconds:=0.5}"
        requests=(1000 6000) lives=(500 3000)
    else
        : "${rounds:=15}" "${seconds:=1}"
        requests=(5000 25000) lives=(2000 12000)
    fi
    [[ $rounds =~ ^[1-9][0-9]?$ ]] || die "--rounds is a number from 1 to 99"
    [[ $seconds =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "--seconds is a number"
    # linger is built when one of its own commands will be run.
    if [[ $server_given == no ]] || { [[ $resp_given == no ]] && wants memory; }; then build_linger=yes; fi
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

# ---- Processes: each started one is in `running` until it is seen to be gone --------------------------

declare -A running=()
work='' server_pid='' tool_pid='' server_port=''
server_pin=() load_pin=()

clean_up() {
    local status=$?
    trap - EXIT INT TERM HUP
    local pid
    for pid in "${!running[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${!running[@]}"; do await_exit "$pid" 2 || kill -KILL "$pid" 2>/dev/null || true; done
    if [[ -n $work ]]; then
        if [[ -n $keep ]]; then
            mkdir -p "$keep" && cp -r "$work/." "$keep"
        fi
        rm -rf "$work"
    fi
    exit "$status"
}

# Waits, at most $2 seconds, until the process $1 is gone.
await_exit() {
    local left=$(($2 * 50))
    while kill -0 "$1" 2>/dev/null; do
        ((left-- > 0)) || return 1
        sleep 0.02
    done
    unset "running[$1]"
}

choose_pins() {
    if ! command -v taskset >/dev/null || ! taskset -c "$load_cpu,$server_cpu" true 2>/dev/null; then
        say "warning: cannot pin to cpus $load_cpu and $server_cpu; timed figures will be worth little"
        return
    fi
    load_pin=(taskset -c "$load_cpu") server_pin=(taskset -c "$server_cpu")
}

port_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# start_server COMMAND [TOOL...]: leaves server_pid, tool_pid (who to wait for) and server_port.
# The port lies below the ephemeral range, where no client's own port can collide with it.
start_server() {
    local command=$1 attempt waited words
    shift
    for attempt in 1 2 3 4 5; do
        server_port=$((20000 + RANDOM % 10000))
        port_answers "$server_port" && continue
        read -ra words <<<"${command//\{port\}/$server_port}"
        rm -f "$work/server.pid"
        # strace follows the shell into the server; valgrind would not, and stays the same process anyway.
        if [[ ${1-} == strace ]]; then
            # shellcheck disable=SC2016 # for the inner shell to expand
            words=(bash -c 'echo $$ >"$0"; exec "$@"' "$work/server.pid" "${words[@]}")
        fi
        "${server_pin[@]}" "$@" "${words[@]}" </dev/null >"$work/server.log" 2>&1 &
        tool_pid=$!
        running[$tool_pid]=1
        for ((waited = 0; waited < 1000; waited++)); do
            kill -0 "$tool_pid" 2>/dev/null || break
            if port_answers "$server_port"; then
                server_pid=$tool_pid
                if [[ ${1-} == strace ]]; then
                    server_pid=$(<"$work/server.pid")
                    running[$server_pid]=1
                fi
                return
            fi
            sleep 0.02
        done
        stop_server "$tool_pid" "$tool_pid"
    done
    say "the server did not start after $attempt attempts: ${words[*]}"
    sed 's/^/bench:   /' "$work/server.log" >&2
    return 1
}

# stop_server PID TOOL_PID: by SIGTERM; twice, because a second one cuts a drain short.
stop_server() {
    local signal
    for signal in TERM TERM KILL; do
        kill "-$signal" "$1" 2>/dev/null || true
        if await_exit "$2" 5; then
            unset "running[$1]"
            return
        fi
    done
    say "process $2 does not end"
    return 1
}

# Waits until the server has seen all its clients leave: its descriptors stop changing.
await_quiet() {
    local count before=-1 same=0 tries
    for ((tries = 0; tries < 200; tries++)); do
        count=$(find "/proc/$1/fd" -mindepth 1 2>/dev/null | wc -l)
        if ((count == before)); then same=$((same + 1)); else same=0; fi
        ((same < 3)) || return 0
        before=$count
        sleep 0.05
    done
    say "warning: the descriptors of process $1 keep changing"
}

load() { "${load_pin[@]}" "$bin/load" "$@"; }

# field NAME LINE: the value of NAME in a line of key=value words.
field() {
    local word
    for word in $2; do
        if [[ $word == "$1="* ]]; then
            echo "${word#*=}"
            return
        fi
    done
    return 1
}

# CPU time of all threads of a process, and the time they waited for a cpu that another process held, in
# ns. Some kernels do not fill schedstat: ticks then, and no waiting known.
cpu_ns() {
    local ran=0 waited=0
    read -r ran waited < <(cat /proc/"$1"/task/*/schedstat 2>/dev/null |
        awk '{ ran += $1; waited += $2 } END { printf "%.0f %.0f\n", ran, waited }')
    if [[ $ran == 0 ]]; then
        [[ -r /proc/$1/stat ]] || return 1
        ran=$(awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); printf "%.0f", ($12 + $13) * 1e9 / hz }' "/proc/$1/stat") || return 1
    fi
    echo "$ran $waited"
}

# Resident kB. smaps_rollup counts pages; VmRSS is kept per cpu and can be a few hundred kB behind.
rss_kb() {
    awk '/^Rss:/ { print $2; found = 1; exit } END { exit !found }' "/proc/$1/smaps_rollup" 2>/dev/null ||
        awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"
}

calc() { awk "BEGIN { printf \"%.${2:-3}f\", $1 }"; }

holds() { awk "BEGIN { exit !($1) }"; }

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

# ---- Timed parts: rounds of A B, B A, ... --------------------------------------------------------------

# median FILE COLUMN
median() {
    awk -v c="$2" '{ print $c }' "$1" | sort -g |
        awk '{ v[NR] = $1 } END { printf "%.6g", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# A sample is a line of numbers, the last of which is the share of the time it was disturbed for: server or
# load waited for a cpu that another process held. undisturbed CASE pairs the samples of a round, server
# first, and keeps the pairs worth comparing; all of them where fewer than three are, and says so.
disturbed=no
undisturbed() {
    local all=$work/$1.all kept=$work/$1.pairs
    paste -d ' ' "$work/$1.server" "$work/$1.baseline" >"$all"
    awk '$(NF / 2) <= 0.10 && $NF <= 0.10' "$all" >"$kept"
    local count
    count=$(wc -l <"$kept")
    disturbed=no
    if ((count == rounds)); then return; fi
    if ((count < 3)); then
        # A round in which nothing at all was measured cannot be a ratio.
        awk '$1 > 0 && $(1 + NF / 2) > 0' "$all" >"$kept"
        [[ -s $kept ]] || head -n 1 "$all" >"$kept"
        disturbed=yes
        notes+=("Warning: in $((rounds - count)) of $rounds rounds of $1 another process held a cpu: its rates and latencies mean little.")
    else
        notes+=("$((rounds - count)) of $rounds rounds of $1 are left out: another process held a cpu.")
    fi
}

# timed_row KIND WHAT BAR CASE COLUMN: the ratio of a column, server over baseline, pair by pair.
timed_row() {
    local ratios=$work/ratios pairs=$work/$4.pairs half
    awk -v c="$5" '{ d = $(c + NF / 2); printf "%.4f\n", (d > 0 ? $c / d : 0) }' "$pairs" | sort -g >"$ratios"
    half=$(awk '{ print NF / 2; exit }' "$pairs")
    "$1" "$2" "$3" "$(printf %.0f "$(median "$pairs" "$5")")" "$(printf %.0f "$(median "$pairs" $(($5 + half)))")" \
        "$(printf %.3f "$(median "$ratios" 1)")" \
        "$(printf '%.2f..%.2f' "$(head -n 1 "$ratios")" "$(tail -n 1 "$ratios")")"
}

# sample_echo CASE SIDE PID PORT CONNECTIONS appends: rate, p50, p99, server ns per request, busy, disturbed
sample_echo() {
    local line began ended ran waited ran_before waited_before
    read -r ran_before waited_before < <(cpu_ns "$3") || return 1
    began=$(date +%s%N)
    line=$(load echo -p "$4" -c "$5" -t "$seconds") || return 1
    ended=$(date +%s%N)
    await_quiet "$3"
    read -r ran waited < <(cpu_ns "$3") || return 1
    echo "$(field rate "$line") $(field p50_us "$line") $(field p99_us "$line")" \
        "$(calc "($ran - $ran_before) / $(field all_requests "$line")")" \
        "$(calc "($ran - $ran_before) / ($ended - $began)")" \
        "$(calc "(($waited - $waited_before) + 1e9 * $(field waited "$line")) / ($ended - $began)")" >>"$work/$1.$2"
}

# sample_churn CASE SIDE PID PORT CONNECTIONS appends: lives/s, server ns per life, lives per server second, disturbed
sample_churn() {
    local line ran waited ran_before waited_before
    read -r ran_before waited_before < <(cpu_ns "$3") || return 1
    line=$(load churn -p "$4" -c "$5" -t "$seconds") || return 1
    await_quiet "$3"
    read -r ran waited < <(cpu_ns "$3") || return 1
    echo "$(field rate "$line") $(calc "($ran - $ran_before) / $(field lives "$line")")" \
        "$(calc "1e9 * $(field lives "$line") / ($ran - $ran_before)")" \
        "$(calc "(($waited - $waited_before) / 1e9 + $(field waited "$line")) / $(field seconds "$line")")" >>"$work/$1.$2"
}

# timed_rounds SAMPLER CASE:CONNECTIONS...: both servers stay up, idle while the other is measured. Which
# of the two goes first changes from round to round, so that a drift favours neither.
timed_rounds() {
    local sampler=$1 round side order case_ a_pid a_port b_pid b_port
    shift
    start_server "$server" || return 1
    a_pid=$server_pid a_port=$server_port
    start_server "$baseline" || return 1
    b_pid=$server_pid b_port=$server_port
    # Memory touched and caches filled before the first sample counts.
    load churn -p "$a_port" -n 2000 >/dev/null && load churn -p "$b_port" -n 2000 >/dev/null || return 1
    for ((round = 1; round <= rounds; round++)); do
        for case_ in "$@"; do
            if ((round % 2)); then order="server baseline"; else order="baseline server"; fi
            for side in $order; do
                if [[ $side == server ]]; then
                    "$sampler" "${case_%:*}" server "$a_pid" "$a_port" "${case_#*:}" || return 1
                else
                    "$sampler" "${case_%:*}" baseline "$b_pid" "$b_port" "${case_#*:}" || return 1
                fi
            done
        done
        say "round $round of $rounds"
    done
    stop_server "$a_pid" "$a_pid"
    stop_server "$b_pid" "$b_pid"
}

part_echo() {
    local n
    if ! timed_rounds sample_echo echo50:50 echo1000:1000; then
        fail_part "echo" "see above"
        return
    fi
    for n in 50 1000; do
        undisturbed "echo$n"
        timed_row soft_row "echo rate, $n connections [1/s]" ">= 0.97" "echo$n" 1
        timed_row soft_row "echo p99, $n connections [us]" "<= 1.05" "echo$n" 3
        timed_row info_row "echo p50, $n connections [us]" "" "echo$n" 2
        timed_row info_row "server cpu per echo, $n conn. [ns]" "" "echo$n" 4
    done
    notes+=("At 50 connections the server is busy $(calc "100 * $(median "$work/echo50.server" 5)" 0) % of the time, the baseline \
$(calc "100 * $(median "$work/echo50.baseline" 5)" 0) %; where that is far from 100, the rate measures the load.")
}

part_churn() {
    if ! timed_rounds sample_churn churn:50; then
        fail_part "churn" "see above"
        return
    fi
    undisturbed churn
    # CPU time does not count the waiting, so its ratio can be judged all the same.
    disturbed=no
    timed_row soft_row "churn: lives per second of server cpu" ">= 0.95" churn 3
    timed_row info_row "churn: server cpu per life [ns]" "" churn 2
    timed_row info_row "churn: lives per second, by the clock" "" churn 1
}

# ---- Counted parts: the difference of two exact runs ---------------------------------------------------

# counted_run COMMAND OUTPUT MODE COUNT TOOL...: one fresh server under the tool, COUNT requests or lives.
counted_run() {
    local command=$1 output=$2 mode=$3 count=$4
    shift 4
    start_server "$command" "$@" || return 1
    local pid=$server_pid tool=$tool_pid
    load "$mode" -p "$server_port" -c 50 -n "$count" >/dev/null || return 1
    await_quiet "$pid"
    stop_server "$pid" "$tool" && [[ -s $output ]]
}

strace_total() { awk '$NF == "total" { print $4 }' "$1"; }

callgrind_total() { awk '/^totals:/ { sum += $2 } END { print sum }' "$1"; }

# count_per KIND NAME COMMAND MODE LOW HIGH: prints the cost of one request or life, or "failed".
count_per() {
    local kind=$1 name=$2 command=$3 mode=$4 count output totals=() digits=1
    for count in "$5" "$6"; do
        output=$work/$kind.$mode.$name.$count
        if [[ $kind == strace ]]; then
            counted_run "$command" "$output" "$mode" "$count" strace -c -f -o "$output" || break
            totals+=("$(strace_total "$output")")
        else
            counted_run "$command" "$output" "$mode" "$count" \
                valgrind --tool=callgrind "--callgrind-out-file=$output" || break
            totals+=("$(callgrind_total "$output")")
        fi
    done
    if ((${#totals[@]} < 2)); then
        counted=failed
        return
    fi
    if [[ $kind == strace ]]; then digits=3; fi
    counted=$(calc "(${totals[1]} - ${totals[0]}) / ($6 - $5)" "$digits")
}

# Which calls they are: what one request or life costs of each, from the same two runs.
strace_breakdown() { # NAME MODE LOW HIGH
    awk -v low="$3" -v high="$4" '
        $4 ~ /^[0-9]+$/ && $NF != "total" { calls[$NF] += (FNR == NR ? -1 : 1) * $4 }
        END {
            for (name in calls) {
                each = calls[name] / (high - low)
                if (each >= 0.0005) printf "%.3f %s\n", each, name
            }
        }' "$work/strace.$2.$1.$3" "$work/strace.$2.$1.$4" | sort -k 1,1gr -k 2 | paste -s -d ',' | sed 's/,/, /g'
}

counted=''
part_counted() { # KIND UNIT ECHO_BAR LIFE_BAR
    local kind=$1 ours
    count_per "$kind" server "$server" echo "${requests[@]}"; ours=$counted
    count_per "$kind" baseline "$baseline" echo "${requests[@]}"
    hard_row "$2 per echo request" "$3" "$ours" "$counted"
    count_per "$kind" server "$server" churn "${lives[@]}"; ours=$counted
    count_per "$kind" baseline "$baseline" churn "${lives[@]}"
    hard_row "$2 per connection life" "$4" "$ours" "$counted"
}

part_syscalls() {
    local name
    if ! command -v strace >/dev/null; then
        skip_part "system calls" "strace is not installed"
        return
    fi
    part_counted strace "system calls" "<= 2.05" "<= 7"
    for name in server baseline; do
        if [[ -s $work/strace.churn.$name.${lives[1]} ]]; then
            notes+=("System calls of the $name, per echo: $(strace_breakdown "$name" echo "${requests[@]}")"
                "System calls of the $name, per life: $(strace_breakdown "$name" churn "${lives[@]}")")
        fi
    done
}

part_instructions() {
    if ! command -v valgrind >/dev/null; then
        skip_part "instructions" "valgrind is not installed"
        return
    fi
    part_counted callgrind "instructions" "<= 400" "<= 2000"
}

# ---- Memory --------------------------------------------------------------------------------------------

readonly held_wanted=18000

# hold COUNT LINE FUNCTION...: opens the connections, runs FUNCTION while they are held, closes them.
# They live as long as the generator's stdin is open, so they end with this script however it ends.
hold() {
    local count=$1 line=$2 pid input
    shift 2
    rm -f "$work/hold.in" && mkfifo "$work/hold.in"
    exec {input}<>"$work/hold.in"
    : >"$work/hold.out"
    "${load_pin[@]}" "$bin/load" hold -p "$server_port" -c "$count" -l "$line" -d 120 \
        <"$work/hold.in" >"$work/hold.out" {input}>&- &
    pid=$!
    running[$pid]=1
    while kill -0 "$pid" 2>/dev/null && ! grep -q '^held=' "$work/hold.out"; do sleep 0.05; done
    if grep -qx "held=$count" "$work/hold.out"; then "$@"; fi
    exec {input}>&-
    await_exit "$pid" 30 && grep -qx "held=$count" "$work/hold.out" && grep -qx "lost=0" "$work/hold.out"
}

rss_sample=''
sample_rss() {
    sleep 1 # what the server gives back when a connection falls idle, it gives back within this time
    rss_sample=$(rss_kb "$server_pid")
}

# measure_memory COMMAND LINE COUNT: leaves bytes per connection in `counted`.
measure_memory() {
    local before
    counted=failed
    start_server "$1" || return 0
    # The code and the tables that the first connections touch are paid once, not per connection.
    if hold 64 "$2" true && await_quiet "$server_pid"; then
        before=$(rss_kb "$server_pid")
        if hold "$3" "$2" sample_rss; then counted=$(calc "1024 * ($rss_sample - $before) / $3" 1); fi
    fi
    stop_server "$server_pid" "$tool_pid"
}

part_memory() {
    local count=$held_wanted limit base
    limit=$(ulimit -Hn)
    if [[ $limit != unlimited ]] && ((limit < held_wanted + 500)); then
        count=$((limit - 500))
        notes+=("The hard limit of open files is $limit: memory was measured with $count connections.")
    fi
    measure_memory "$baseline" 'hello %d\r\n' "$count"; base=$counted
    measure_memory "$server" 'hello %d\r\n' "$count"
    hard_row "idle memory, echo [B/connection]" "<= 128" "$counted" "$base"
    measure_memory "$resp_server" 'IDENT dev%d\r\n' "$count"
    hard_row "idle memory, resp + identity [B/conn.]" "<= 256" "$counted" "$base"
}

# ---- Heartbeats ----------------------------------------------------------------------------------------

# CPU that an idle server uses while it holds 18,000 connections which owe it a heartbeat a minute.
part_idle() {
    local span=10
    [[ $quick == no ]] || span=3
    counted=failed
    start_server "$linger serve --listen echo://127.0.0.1:{port}?heartbeat=60s --admin off --log off" || return 0
    hold "$held_wanted" 'hello %d\r\n' sample_idle "$span" || counted=failed
    stop_server "$server_pid" "$tool_pid"
    hard_row "idle server, 18,000 held [% of a cpu]" "<= 0.5" "$counted" "-"
}

sample_idle() {
    local before after
    await_quiet "$server_pid" || return 0
    read -r before _ < <(cpu_ns "$server_pid")
    sleep "$1"
    read -r after _ < <(cpu_ns "$server_pid")
    counted=$(calc "100 * ($after - $before) / ($1 * 1e9)" 3)
}

# How late 18,000 silent connections are judged while others echo at full speed: the silence in their End
# records, less the timeout and the grace. On a cpu that others share this measures the others as well, so
# it is judged as timings are.
part_heartbeat() {
    local late
    start_server "$linger serve --listen echo://127.0.0.1:{port}?heartbeat=4s&heartbeat.grace=1s --admin off --log info \
        --set log.endings_per_second=1000000" || return 0
    hold "$held_wanted" 'hello %d\r\n' load echo -p "$server_port" -c 50 -t 6 >/dev/null || true
    stop_server "$server_pid" "$tool_pid"
    late=$(grep -c 'reason=stuck.frozen' "$work/server.log" || true)
    if ((late < held_wanted)); then fail_part heartbeat "only $late of $held_wanted silent connections were judged"; return; fi
    late=$(sed -n 's/.*reason=stuck.frozen.*silence_s=\([0-9.]*\).*/\1/p' "$work/server.log" | sort -n |
        awk '{ all[NR] = $1 } END { printf "%.1f", 1000 * (all[int(NR * 0.99)] - 5) }')
    soft_bar "heartbeat verdict, p99 lateness [ms]" "<= 11" "$late"
}

# ---- Audits --------------------------------------------------------------------------------------------

# What audits of 18,000 connections, two in a second, take of the loop at once by the server's own measure; what
# clients at full speed see of it; and what it holds of memory between two of them.
part_audit() {
    if ! command -v curl >/dev/null; then skip_part "audit" "curl is not installed"; return; fi
    local interval without=0 with=0
    for interval in 1d 500ms; do
        audit_p99=failed audit_slice=failed counted=failed
        start_server "$linger serve --listen echo://127.0.0.1:{port} --admin unix:$work/admin.sock --log warn \
            --set audit.interval=$interval" || return 0
        if hold 64 'hello %d\r\n' true && await_quiet "$server_pid"; then
            # The code of an audit, too, is paid once.
            sleep 2
            audit_rss=$(rss_kb "$server_pid")
            hold "$held_wanted" 'hello %d\r\n' sample_audit "$interval" || audit_p99=failed
        fi
        stop_server "$server_pid" "$tool_pid"
        if [[ $audit_p99 == failed ]]; then fail_part audit "see above"; return; fi
        if [[ $interval == 1d ]]; then without=$audit_p99; else with=$audit_p99; fi
    done
    soft_bar "audit of 18,000: longest slice [ms]" "<= 2" "$audit_slice"
    info_row "echo p99 beside audits, without [us]" "" "$with" "$without" "$(calc "$with / $without")" ""
    hard_row "idle memory between audits [B/conn.]" "<= 128" "$counted" "-"
    notes+=("An audit of $held_wanted connections takes $audit_took ms from begin to end, while 50 others echo at full speed.")
}

audit_p99='' audit_slice='' audit_rss='' audit_took=''
audit_metric() { curl -s --unix-socket "$work/admin.sock" http://localhost/metrics | awk -v name="$1" '$1 == name { print $2 }'; }

sample_audit() {
    local line
    if [[ $1 != 1d ]]; then
        sleep 2
        counted=$(calc "1024 * ($(rss_kb "$server_pid") - $audit_rss) / $held_wanted" 1)
    fi
    line=$(load echo -p "$server_port" -c 50 -t 5) || return 0
    audit_p99=$(field p99_us "$line")
    if [[ $1 == 1d ]]; then return; fi
    if (($(audit_metric linger_audits_total) < 5)); then audit_p99=failed; say "too few audits"; return; fi
    audit_slice=$(calc "1000 * $(audit_metric linger_audit_slice_seconds_max)")
    audit_took=$(calc "1000 * $(audit_metric linger_audit_seconds)" 0)
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
