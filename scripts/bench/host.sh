# shellcheck shell=bash
# For scripts/bench.sh: the processes that it starts and surely stops, and what the kernel says of them.

# Set by bench.sh, or used there.
# shellcheck disable=SC2034,SC2154

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
