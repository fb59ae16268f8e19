# What the scripts share that try programs of others: for `source`. Wants $dir, where logs go.
# shellcheck shell=bash

: "${dir:?is where logs go}"
passed=0 failed=0 skipped=0

# skip WHAT REASON
skip() {
    echo "== $1: skipped: $2"
    skipped=$((skipped + 1))
}

# check WHAT COMMAND...: whether it succeeds. A function is called as it is, and has to end by itself.
check() {
    local what=$1 log="$dir/check.log"
    shift
    if "$@" >"$log" 2>&1 </dev/null; then
        echo "ok $what"
        passed=$((passed + 1))
    else
        echo "FAILED $what:"
        tail -20 "$log"
        failed=$((failed + 1))
    fi
}

is_open() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# stop PID: first the polite way, for a database that is killed leaves shared memory behind. 0 is none.
stop() {
    [ "$1" -gt 0 ] || return 0
    kill "$1" 2>/dev/null
    for _ in $(seq 60); do kill -0 "$1" 2>/dev/null || break; sleep 0.05; done
    kill -9 "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}

# port_of LOG LISTENER: its port, as that log, of JSON, has it.
port_of() {
    local found
    for _ in $(seq 200); do
        found=$(sed -nE "s/.*\"address\":\"127\.0\.0\.1:([0-9]+)\".*\"event\":\"listening\".*\"listener\":\"$2\".*/\1/p" "$1" | head -1)
        [ -n "$found" ] && { echo "$found"; return; }
        sleep 0.05
    done
    return 1
}
