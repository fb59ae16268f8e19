# shellcheck shell=bash
# For scripts/bench.sh: its parts, each of which measures and adds rows to the table.

# Set by bench.sh, or used there.
# shellcheck disable=SC2034,SC2154

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

# count_least: the same of three times, the least: a generator that is held up comes in smaller batches, which costs turns of the
# loop, and tells nothing of the work.
count_least() {
    local all=()
    for _ in 1 2 3; do
        count_per "$@"
        if [[ $counted == failed ]]; then return; fi
        all+=("$counted")
    done
    counted=$(printf '%s\n' "${all[@]}" | sort -g | head -n 1)
}

counted=''
part_counted() { # KIND UNIT ECHO_BAR LIFE_BAR
    local kind=$1 ours
    count_least "$kind" server "$server" echo "${requests[@]}"; ours=$counted
    count_least "$kind" baseline "$baseline" echo "${requests[@]}"
    hard_row "$2 per echo request" "$3" "$ours" "$counted"
    count_least "$kind" server "$server" churn "${lives[@]}"; ours=$counted
    count_least "$kind" baseline "$baseline" churn "${lives[@]}"
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
    part_counted callgrind "instructions" "<= 385" "<= 1650"
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
    hard_row "idle memory, echo [B/connection]" "<= 112" "$counted" "$base"
    measure_memory "$resp_server" 'IDENT dev%d\r\n' "$count"
    hard_row "idle memory, resp + identity [B/conn.]" "<= 248" "$counted" "$base"
}

# ---- Heartbeats ----------------------------------------------------------------------------------------

# CPU that an idle server uses while it holds 18,000 connections, each to send a heartbeat a minute.
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
    local late all
    start_server "$linger serve --listen echo://127.0.0.1:{port}?heartbeat=4s&heartbeat.grace=1s --admin off --log info \
        --set log.endings_per_second=1000000" || return 0
    hold "$held_wanted" 'hello %d\r\n' echo_until_judged >/dev/null || true
    stop_server "$server_pid" "$tool_pid"
    late=$(grep -c 'reason=stuck.frozen' "$work/server.log" || true)
    if ((late < held_wanted)); then
        all=$({ grep -o 'reason=[a-z_]*\.[a-z_]* detector=heartbeat' "$work/server.log" || true; } | sort | uniq -c | tr -s ' \n' ' ')
        fail_part heartbeat "$late of $held_wanted silent connections were found to be stuck; all verdicts:$all"
        return
    fi
    late=$(sed -n 's/.*reason=stuck.frozen.*silence_s=\([0-9.]*\).*/\1/p' "$work/server.log" | sort -n |
        awk '{ all[NR] = $1 } END { printf "%.1f", 1000 * (all[int(NR * 0.99)] - 5) }')
    soft_bar "heartbeat verdict, p99 lateness [ms]" "<= 11" "$late"
}

judged() { grep -c 'detector=heartbeat' "$work/server.log" || true; }

# For as long as the verdicts should take, and then some: a machine that others use may bring the last of them late.
echo_until_judged() {
    local tries
    load echo -p "$server_port" -c 50 -t 6
    for ((tries = 0; tries < 200; tries++)); do
        (($(judged) < held_wanted)) || return 0
        sleep 0.1
    done
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

# ---- Programs of their own ---------------------------------------------------------------------------------

# run_program COMMAND...: leaves its exit status in `ended`.
ended=0
run_program() {
    local pid
    "$@" &
    pid=$!
    running[$pid]=1
    ended=0
    wait "$pid" || ended=$?
    unset "running[$pid]"
}

part_attack() {
    if ! command -v python3 >/dev/null; then skip_part "attack" "python3 is not installed"; return; fi
    if [[ -n $keep ]]; then attacks+=(--json "$work/attack.json"); fi
    run_program python3 -B "$root/benches/attack" --linger "$linger" "${attacks[@]}"
    case $ended in
        0) notes+=("Under attack: all bars held; see the table before this one.") ;;
        1) fail_part "attack" "bars were broken; see the table before this one" ;;
        *) fail_part "attack" "see above" ;;
    esac
}

part_others() { compare "others"; }

# These are among the others.
part_fanout() { wants others || compare "fanout" --only fanout; }

part_gateway() { wants others || compare "gateway" --only gateway; }

part_tls() { wants others || compare "tls" --only tls; }

# compare PART [OPTION...]
compare() {
    local part=$1
    shift
    if ! command -v python3 >/dev/null; then skip_part "$part" "python3 is not installed"; return; fi
    if [[ -n $keep ]]; then set -- "$@" --json "$work/$part.json"; fi
    run_program python3 -B "$root/benches/compare" "${others[@]}" "$@"
    case $ended in
        0) notes+=("Beside other servers: see the page that the part $part wrote.") ;;
        1) fail_part "$part" "something could not be measured; the page says what" ;;
        3) fail_part "$part" "bars were missed; see above, and the page" ;;
        *) fail_part "$part" "see above" ;;
    esac
}
