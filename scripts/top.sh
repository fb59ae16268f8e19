#!/usr/bin/env bash
# `linger top` in a real terminal (tmux): a server without and with workers, over a unix socket and over TCP with a token.
# `scripts/top.sh --help` says how to use it.
#
# What is written goes to target/top/. All that is started is stopped.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root dir=$root/target/top
readonly linger=${LINGER:-$root/target/release/linger}

usage() {
    cat <<'HELP'
usage: scripts/top.sh [ROUND]...

Rounds: one (one process, unix socket), workers (two workers, TCP and a token); default: both. Reports `N passed, N failed, N
skipped` on the last line. LINGER=PATH names the binary (default: target/release/linger, built if it is missing).

Exit status: 0 nothing failed, 1 something did, 2 usage or a failed build.
HELP
}

# shellcheck source=scripts/checks.sh
source "$root/scripts/checks.sh"
# A tmux of our own, which reads nobody's settings.
readonly tmux=(tmux -L "linger-top-$$" -f /dev/null)
server=0 runs=0

cleanup() {
    stop "$server"
    server=0
    "${tmux[@]}" kill-server 2>/dev/null
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# ---- The terminal -------------------------------------------------------------------------------------

screen() { "${tmux[@]}" capture-pane -p -t top; }

press() { "${tmux[@]}" send-keys -t top "$@"; }

# Types a text as it is.
type_text() { "${tmux[@]}" send-keys -t top -l "$1"; }

run() { type_text "$1" && press Enter; }

# sees PATTERN: waits until that is on the screen.
sees() {
    for _ in $(seq 300); do
        screen | grep -qE -- "$1" && return 0
        sleep 0.1
    done
    echo "\"$1\" is not on the screen:"
    screen
    return 1
}

# misses PATTERN: waits until that is not on the screen.
misses() {
    for _ in $(seq 300); do
        screen | grep -qE -- "$1" || return 0
        sleep 0.1
    done
    echo "\"$1\" is still on the screen:"
    screen
    return 1
}

# Starts top with these arguments, which the shell of the terminal splits. How it ended is printed when the terminal is its own again:
# a shell at its prompt would hide what was not restored.
begin_top() {
    runs=$((runs + 1))
    cat >"$dir/run" <<RUN
stty -g >$dir/before
sh -c 'echo \$\$ >$dir/pid; exec $linger top $1'
status=\$?
stty -g >$dir/after
echo "run $runs was left with \$status"
RUN
    run "sh $dir/run"
}

# is_restored: top has ended well, and the terminal is as it was.
is_restored() {
    sees "^run $runs was left with 0" || return 1
    cmp "$dir/before" "$dir/after" || return 1
    [ "$("${tmux[@]}" display-message -p -t top '#{alternate_on} #{cursor_flag}')" == "0 1" ] ||
        { echo "the other screen is shown, or no cursor"; return 1; }
}

# ---- The server ---------------------------------------------------------------------------------------

# serve ARGUMENT...: with a listener for devices.
serve() {
    "$linger" serve --log info --log-format json --listen 'resp://127.0.0.1:0?name=devices' "$@" >/dev/null 2>"$dir/server.log" \
        </dev/null &
    server=$!
    devices=$(port_of "$dir/server.log" devices) || { cat "$dir/server.log"; return 1; }
}

# device NAME: connects, and gets an identity. Its descriptor is in $device.
device() {
    local answer
    exec {device}<>"/dev/tcp/127.0.0.1/$devices" || return 1
    printf 'IDENT %s\r\n' "$1" >&"$device"
    read -r -t 20 answer <&"$device" && [[ $answer == +OK* ]]
}

# is_ended DESCRIPTOR: the server has closed this connection.
is_ended() { timeout --foreground 20 cat <&"$1" >/dev/null; }

# ---- What is tried ------------------------------------------------------------------------------------

shows_the_clients() {
    sees '2 connections of' && sees 'dev1' && sees 'dev2' && sees 'devices' && sees 'QUEUE'
}

filters() {
    press / && type_text dev1 && press Enter
    sees 'only identity dev1' && misses 'dev2' && sees 'open +dev1'
}

opens() {
    press Enter
    sees 'Connection [0-9.]+-[0-9]+' && sees 'bytes in' && press Escape && misses 'bytes in'
}

ends_after_a_yes() {
    press e && sees 'End connection .*\(dev1' && press n && misses 'End connection' || return 1
    press e && sees 'End connection .*\(dev1' && press y
    sees 'local\.kicked +dev1' && is_ended "$dev1" && exec {dev1}>&-
}

drops_the_filter() {
    press Escape
    misses 'only identity' && sees 'dev2'
}

turns_over_the_lists() {
    press 2 && sees 'DETECTOR|REASON' && press Enter && sees 'What to do:' && press Escape && misses 'What to do:' || return 1
    press 3 && sees 'ended .*local\.kicked' || return 1
    press 4 && sees 'There are no upstream servers' || return 1
    press 5 && sees "$1" && press 1 && sees 'dev2'
}

pauses() {
    press p && sees PAUSED || return 1
    device dev4 && dev4=$device
    # It stands, and goes on.
    sleep 1.5
    ! screen | grep -q dev4 || return 1
    press p && misses PAUSED && sees dev4 && exec {dev4}>&-
}

shows_suspects() {
    local answer
    exec {device}<>"/dev/tcp/127.0.0.1/$devices" || return 1
    printf 'IDENT dev5 BEAT 1\r\n' >&"$device"
    read -r -t 20 answer <&"$device" && [[ $answer == +OK* ]] || return 1
    sees 'SUSPECT FOR' && sees 'suspect +[0-9.]+m?s +dev5' || return 1
    exec {device}>&-
    misses 'SUSPECT FOR'
}

fits_into_small_windows() {
    "${tmux[@]}" resize-window -t top -x 40 -y 10 && misses 'Last endings' && sees 'linger top' && sees 'dev2' || return 1
    "${tmux[@]}" resize-window -t top -x 100 -y 30 && sees 'Last endings'
}

outlives_the_server() {
    kill -KILL "$server"
    wait "$server" 2>/dev/null
    exec {dev2}>&-
    sees 'NO ANSWER' && sees 'dev2' || return 1
    serve "$@" && device dev3 && dev3=$device
    misses 'NO (ANSWER|EVENTS)' && sees 'dev3' && exec {dev3}>&- && sees 'peer\.fin +dev3'
}

gives_the_terminal_back() {
    press q
    is_restored || return 1
    begin_top "$1" && sees 'connections of' && kill -TERM "$(cat "$dir/pid")"
    is_restored || return 1
    begin_top "$1" && sees 'connections of' && press C-c
    is_restored
}

ends_with_its_terminal() {
    local pid
    begin_top "$1" && sees 'connections of' && pid=$(cat "$dir/pid") && "${tmux[@]}" kill-server
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.1; done
    echo "it goes on without a terminal"
    kill "$pid"
    return 1
}

wants_a_terminal() {
    "$linger" top $1 >"$dir/piped" 2>&1 </dev/null
    [ $? -eq 2 ] && grep -q 'wants a terminal' "$dir/piped"
}

says_that_the_token_is_refused() {
    echo 'another-token-0123456789' >"$dir/wrong"
    begin_top "${1/$dir\/token/$dir\/wrong}" && sees 'NO ANSWER.*this interface wants a token' && press q && is_restored
}

# round NAME OF_TOP WORKERS_SEEN ARGUMENT...: of the server, which is started anew with the same ones.
round() {
    local name=$1 of_top=$2 workers=$3
    shift 3
    begin_top "$of_top"
    check "$name: shows the clients" shows_the_clients
    check "$name: filters" filters
    check "$name: opens a connection" opens
    check "$name: ends a connection after a yes, and shows its ending" ends_after_a_yes
    check "$name: drops the filter" drops_the_filter
    check "$name: turns over the lists" turns_over_the_lists "$workers"
    check "$name: pauses" pauses
    check "$name: shows for how long a client is suspect" shows_suspects
    check "$name: fits into small windows" fits_into_small_windows
    check "$name: outlives the server" outlives_the_server "$@"
    check "$name: gives the terminal back" gives_the_terminal_back "$of_top"
    check "$name: wants a terminal" wants_a_terminal "$of_top"
}

begin_terminal() {
    "${tmux[@]}" new-session -d -s top -x 100 -y 30 "env PS1='$ ' bash --norc --noprofile" || return 1
    run "echo begun\$((40 + 2))"
    sees '^begun42'
}

connect_devices() {
    device dev1 && dev1=$device && device dev2 && dev2=$device
}

round_one() {
    local own=(--admin "unix:$dir/admin.sock")
    serve "${own[@]}" && connect_devices && begin_terminal || { failed=$((failed + 1)); return; }
    round one "--admin unix:$dir/admin.sock" 'The server is one process' "${own[@]}"
    cleanup
}

round_workers() {
    local own=(--workers 2 --set "admin.token_file=$dir/token") of_top
    echo 'a-token-of-this-run-0123456789' >"$dir/token"
    serve "${own[@]}" --admin 127.0.0.1:0 && connect_devices && begin_terminal || { failed=$((failed + 1)); return; }
    own+=(--admin "127.0.0.1:$(port_of "$dir/server.log" admin)")
    of_top="--token-file $dir/token ${own[*]: -2}"
    round workers "$of_top" '1 +up' "${own[@]}"
    check "workers: says that the token is refused" says_that_the_token_is_refused "$of_top"
    check "workers: ends with its terminal" ends_with_its_terminal "$of_top"
    cleanup
}

main() {
    local rounds=() round
    while [ $# -gt 0 ]; do
        case $1 in
            --help | -h) usage; exit 0 ;;
            one | workers) rounds+=("$1") ;;
            *) usage >&2; exit 2 ;;
        esac
        shift
    done
    [ "${#rounds[@]}" -gt 0 ] || rounds=(one workers)
    mkdir -p "$dir"
    [ -x "$linger" ] || (cd "$root" && cargo build --locked --release) || exit 2
    if command -v tmux >/dev/null; then
        for round in "${rounds[@]}"; do "round_$round"; done
    else
        skip top "tmux is not installed"
    fi
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
}

main "$@"
