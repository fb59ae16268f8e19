#!/usr/bin/env bash
# redis-cli and redis-benchmark, as they are, against linger. Port: LINGER_PORT.
set -uo pipefail

port=${LINGER_PORT:?}
passed=0 failed=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

cli() { timeout 20 redis-cli -p "$port" "$@" 2>&1; }

# same NAME EXPECTED GOT
same() {
    if [ "$2" == "$3" ]; then
        passed=$((passed + 1))
        echo "ok $1"
    else
        failed=$((failed + 1))
        printf 'FAIL %s\n    expected: %s\n    got:      %s\n' "$1" "$2" "$3"
    fi
}

# has NAME PATTERN GOT
has() {
    if grep -qE -- "$2" <<<"$3"; then same "$1" "" ""; else same "$1" "something like $2" "$3"; fi
}

for version in 2 3; do
    same "-$version PING" "PONG" "$(cli "-$version" PING)"
    same "-$version ECHO" "a b" "$(cli "-$version" ECHO 'a b')"
    same "-$version CLIENT GETNAME" "" "$(cli "-$version" CLIENT GETNAME)"
    same "-$version IDENT" "OK" "$(cli "-$version" IDENT "cli-$version" BEAT 30 SERVERPING)"
    same "-$version STATE" "offline" "$(cli "-$version" STATE nobody)"
    same "-$version SEND" "0" "$(cli "-$version" SEND nobody hello)"
    has "-$version unknown" "^ERR unknown command 'NONSENSE'" "$(cli "-$version" NONSENSE)"
    has "-$version INFO" "^linger_version:" "$(cli "-$version" INFO server)"
    # Commands from a pipe, many at once.
    lines=$(for i in $(seq 500); do echo "ECHO $i"; done | cli "-$version" | cksum)
    same "-$version many from a pipe" "$(seq 500 | cksum)" "$lines"
done
stat=$(timeout 20 stdbuf -oL redis-cli -p "$port" --stat -i 0.1 2>&1 | head -4)
has "--stat" '^0 +[0-9.]+[KMG] +[0-9]+ +0 +[0-9]+' "$stat"
same "--stat has no field missing" 0 "$(grep -c -- '-9223372036854775808' <<<"$stat")"
has "HELLO in RESP3" '"proto" => \(integer\) 3' "$(cli -3 --no-raw HELLO)"
# shellcheck disable=SC2016  # the dollars are the protocol's
same "raw protocol by --pipe" "errors: 0, replies: 3" "$(
    printf '*1\r\n$4\r\nPING\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$1\r\nx\r\n' | cli --pipe | tail -1
)"

# The start of an interactive session asks for COMMAND DOCS. It wants a terminal, and this one has no cursor.
if command -v script >/dev/null; then
    session=$(printf 'PING\nhelp IDENT\nexit\n' |
        TERM=dumb timeout 20 script -qec "redis-cli -p $port" "$dir/typescript" 2>&1 | tr -d '\r')
    has "interactive" 'PONG' "$session"
    has "interactive help from COMMAND DOCS" 'Takes an identity' "$session"
else
    echo "skip interactive: no script(1)"
fi

# Subscribe mode.
(timeout 20 redis-cli -p "$port" PSUBSCRIBE 'cli-*' >"$dir/messages" 2>&1) &
listener=$!
for _ in $(seq 500); do
    [ "$(cli PUBLISH cli-news hello)" == 1 ] && break
    sleep 0.02
done
for _ in $(seq 500); do
    grep -q hello "$dir/messages" && break
    sleep 0.02
done
kill "$listener" 2>/dev/null
wait "$listener" 2>/dev/null
same "subscribe mode" "psubscribe cli-* 1 pmessage cli-* cli-news hello" "$(tr '\n' ' ' <"$dir/messages" | sed 's/ $//')"

# Users.
as() {
    local user=$1
    shift
    timeout 20 redis-cli -p "${LINGER_USERS_PORT:?}" --no-auth-warning --user "$user" --pass "${LINGER_USERS_PASSWORD:?}" "$@" 2>&1
}
for version in 2 3; do
    same "-$version --user --pass" "ops" "$(as ops "-$version" ACL WHOAMI)"
    has "-$version NOPERM" "^NOPERM User dev has no permissions to run the 'client\|list' command" "$(as dev "-$version" CLIENT LIST)"
    has "-$version WRONGPASS" "WRONGPASS invalid username-password pair" "$(as nobody "-$version" PING)"
    has "-$version NOAUTH" "^NOAUTH Authentication required" "$(timeout 20 redis-cli "-$version" -p "$LINGER_USERS_PORT" PING 2>&1)"
    same "-$version ACL USERS" "ops dev default" "$(as ops "-$version" ACL USERS | tr '\n' ' ' | sed 's/ $//')"
    has "-$version ACL LIST" "^user dev on #[0-9a-f]{64} &news\.\* -@all \+@connection \+@pubsub" "$(as ops "-$version" ACL LIST)"
done

# The load generator, plain and pipelined.
for options in "-n 20000" "-n 200000 -P 16" "-n 50000 -c 200 -P 4" "-n 2000 -k 0"; do
    # shellcheck disable=SC2086  # the options are words
    report=$(timeout 60 redis-benchmark -p "$port" -t ping_inline,ping_mbulk $options --csv 2>&1)
    rates=$(grep -cE '^"PING_(INLINE|MBULK)","[0-9]' <<<"$report")
    if [ "$rates" == 2 ] && ! grep -qi error <<<"$report"; then report="two rates"; fi
    same "redis-benchmark $options" "two rates" "$report"
done

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
