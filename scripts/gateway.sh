#!/usr/bin/env bash
# Servers and clients that none of us wrote, unmodified, with linger between them: each works as without.
# `scripts/gateway.sh --help` says how to use it.
#
# What is written goes to target/gateway/. What is not installed is skipped, with the reason. All that is started is
# stopped.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root dir=$root/target/gateway
readonly linger=${LINGER:-$root/target/release/linger}
# Debian has daemons where a plain user does not look.
PATH=$PATH:/usr/sbin:$(compgen -G '/usr/lib/postgresql/*/bin' | tail -1)

usage() {
    cat <<'HELP'
usage: scripts/gateway.sh [APPLICATION]...

Applications: redis, mosquitto, postgresql, nginx, ssh (default: all). Reports `N passed, N failed, N skipped` on the last
line. LINGER=PATH names the binary (default: target/release/linger, built if it is missing).

Exit status: 0 nothing failed, 1 something did, 2 usage or a failed build.
HELP
}

# shellcheck source=scripts/checks.sh
source "$root/scripts/checks.sh"
gateway=0 backend=0 watcher=0

cleanup() {
    stop "$watcher"
    stop "$gateway"
    stop "$backend"
    gateway=0 backend=0 watcher=0
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

within() { timeout --foreground "$@"; }

# start_backend COMMAND...: on a free port, which stands in the place of PORT.
start_backend() {
    local word command
    for port in $(shuf -i 20000-30000 -n 5); do
        is_open "$port" && continue
        command=()
        for word in "$@"; do command+=("${word//PORT/$port}"); done
        "${command[@]}" >"$dir/backend.log" 2>&1 </dev/null &
        backend=$!
        for _ in $(seq 200); do
            kill -0 "$backend" 2>/dev/null || break
            is_open "$port" && return 0
            sleep 0.05
        done
        kill -9 "$backend" 2>/dev/null
        wait "$backend" 2>/dev/null
        backend=0
    done
    tail -5 "$dir/backend.log"
    return 1
}

# start_gateway [SETTINGS]: in front of it. Its port is $front.
start_gateway() {
    "$linger" serve --admin off --log debug --log-format json --set log.endings_per_second=1000000 \
        --listen "tcp://127.0.0.1:0?name=front&upstream=127.0.0.1:$port&${1-}" \
        >/dev/null 2>"$dir/linger.log" </dev/null &
    gateway=$!
    for _ in $(seq 200); do
        front=$(sed -nE 's/.*"address":"127\.0\.0\.1:([0-9]+)".*"event":"listening".*/\1/p' "$dir/linger.log" | head -1)
        [ -n "$front" ] && return 0
        sleep 0.05
    done
    echo "the gateway did not start:"
    tail -5 "$dir/linger.log"
    exit 2
}

# The gateway's own word at the end: no byte was lost that both sides still wanted, and nothing is left.
stop_gateway() {
    kill "$gateway"
    wait "$gateway"
    local status=$?
    gateway=0
    [ "$status" -eq 0 ] || { echo "exit status $status"; return 1; }
    grep '"event":"pair"' "$dir/linger.log" | grep -vE '"reason":"(peer|upstream)\.(fin|reset)|"reason":"local\.drain' |
        grep . && return 1
    grep -q '"event":"stopped"' "$dir/linger.log"
}

# The same command at the server itself and through the gateway, on the port in the place of PORT: the same is printed.
same() {
    local word direct=() through=()
    for word in "$@"; do
        direct+=("${word//PORT/$port}")
        through+=("${word//PORT/$front}")
    done
    within 60 "${direct[@]}" >"$dir/direct.out" 2>&1 || return 1
    within 60 "${through[@]}" >"$dir/through.out" 2>&1 || { cat "$dir/through.out"; return 1; }
    cmp "$dir/direct.out" "$dir/through.out" && [ -s "$dir/direct.out" ]
}

# ---- The applications ---------------------------------------------------------------------------------

with_redis() {
    local tool
    for tool in redis-server redis-cli redis-benchmark; do
        command -v "$tool" >/dev/null || { skip redis "$tool is not installed"; return; }
    done
    start_backend redis-server --port PORT --bind 127.0.0.1 --save '' --appendonly no --dir "$dir" ||
        { skip redis "redis-server does not start, see target/gateway/backend.log"; return; }
    start_gateway 'heartbeat=90s'
    check 'redis-benchmark, 50 connections' within 60 redis-benchmark -p "$front" -c 50 -n 20000 -t get,set,lrange_100 -q
    check 'redis-benchmark, 50 connections, 16 commands at once' \
        within 60 redis-benchmark -p "$front" -c 50 -n 50000 -P 16 -t get,set -q
    check 'redis-benchmark, values of 200,000 bytes' \
        within 60 redis-benchmark -p "$front" -c 20 -n 2000 -d 200000 -t get,set -q
    check 'a value of 8 MB comes back' redis_value
    check 'the same answers as without' same redis-cli -p PORT --csv command count
    check 'a subscriber has its messages' redis_subscriber
    check 'redis-cli over a pipe' redis_pipe
    check 'the gateway ends in order' stop_gateway
}

redis_value() {
    head -c 8000000 /dev/urandom >"$dir/value"
    within 30 redis-cli -p "$front" -x SET value <"$dir/value" | grep -qx OK || return 1
    within 30 redis-cli -p "$front" GET value | head -c 8000000 | cmp - "$dir/value"
}

redis_subscriber() {
    : >"$dir/news"
    within 30 redis-cli -p "$front" --csv SUBSCRIBE news >>"$dir/news" &
    watcher=$!
    local told=0
    for _ in $(seq 100); do
        [ "$(within 10 redis-cli -p "$front" PUBLISH news first)" = 1 ] && told=1 && break
        sleep 0.05
    done
    within 10 redis-cli -p "$front" PUBLISH news second
    for _ in $(seq 100); do grep -q second "$dir/news" && break; sleep 0.05; done
    kill "$watcher"
    wait "$watcher" 2>/dev/null
    watcher=0
    cat "$dir/news"
    [ "$told" = 1 ] && grep -q '"message","news","second"' "$dir/news"
}

# It ends its own side behind its last command, and reads on.
redis_pipe() {
    seq 20000 | sed 's/.*/SET key:& &/' | within 60 redis-cli -p "$front" --pipe >"$dir/pipe" || return 1
    cat "$dir/pipe"
    grep -q 'errors: 0, replies: 20000' "$dir/pipe"
}

with_mosquitto() {
    local tool
    for tool in mosquitto mosquitto_pub mosquitto_sub; do
        command -v "$tool" >/dev/null || { skip mosquitto "$tool is not installed"; return; }
    done
    start_backend "$(command -v mosquitto)" -p PORT ||
        { skip mosquitto "mosquitto does not start, see target/gateway/backend.log"; return; }
    start_gateway 'half_close=end&heartbeat=90s'
    check 'messages of each quality of service arrive' mosquitto_messages
    check 'a message of 5 MB arrives whole' mosquitto_large
    check 'the will of a client that is killed is told' mosquitto_will
    check 'the gateway ends in order' stop_gateway
}

# subscribe COUNT TOPIC: in the background, until so many have come.
subscribe() {
    # Here, not by the job: what an earlier subscriber was told must be gone when this one is waited for.
    : >"$dir/told"
    within 30 mosquitto_sub -p "$front" -q 2 -C "$1" -t "$2" >>"$dir/told" &
    watcher=$!
    # A retained message tells that it is there.
    for _ in $(seq 200); do [ -s "$dir/told" ] && return 0; sleep 0.05; done
    return 1
}

# Waits for the subscriber to have all.
told() {
    wait "$watcher"
    local status=$?
    watcher=0
    return "$status"
}

mosquitto_messages() {
    within 10 mosquitto_pub -p "$front" -r -t some/first -m first || return 1
    subscribe 4 'some/#' || return 1
    local quality
    for quality in 0 1 2; do
        within 10 mosquitto_pub -p "$front" -q "$quality" -t some/thing -m "of $quality" || return 1
    done
    told || return 1
    [ "$(cat "$dir/told")" = $'first\nof 0\nof 1\nof 2' ]
}

mosquitto_large() {
    head -c 5000000 /dev/urandom >"$dir/large"
    within 30 mosquitto_pub -p "$front" -q 1 -r -t large -f "$dir/large" || return 1
    within 30 mosquitto_sub -p "$front" -C 1 -N -t large | cmp - "$dir/large"
}

mosquitto_will() {
    within 10 mosquitto_pub -p "$front" -r -t last/first -m first || return 1
    subscribe 2 'last/#' || return 1
    : >"$dir/dying"
    # Line by line: what it has not written when it is killed is lost.
    stdbuf -oL mosquitto_sub -d -p "$front" -t nothing --will-topic last/will --will-payload 'it is gone' >>"$dir/dying" &
    local dying=$!
    for _ in $(seq 200); do grep -q SUBACK "$dir/dying" && break; sleep 0.05; done
    kill -9 "$dying"
    wait "$dying" 2>/dev/null
    told || return 1
    grep -qx 'it is gone' "$dir/told"
}

with_postgresql() {
    local tool as=()
    for tool in initdb postgres psql; do
        command -v "$tool" >/dev/null || { skip postgresql "$tool is not installed"; return; }
    done
    local data
    data=$(mktemp -d /tmp/linger-gateway.XXXXXX)
    if [ "$(id -u)" -eq 0 ]; then
        # It does not run as root.
        id postgres >/dev/null 2>&1 || { skip postgresql "there is no user postgres to run it as"; return; }
        chown postgres "$data"
        as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    fi
    (cd / && within 120 "${as[@]}" "$(command -v initdb)" -D "$data/data" -A trust -U tester -N) >"$dir/initdb.log" 2>&1 ||
        { skip postgresql "initdb: $(tail -1 "$dir/initdb.log")"; rm -rf "$data"; return; }
    if start_backend "${as[@]}" "$(command -v postgres)" -D "$data/data" -p PORT -h 127.0.0.1 -k "$data" -F; then
        for _ in $(seq 200); do sql "$port" -c 'SELECT 1' >/dev/null 2>&1 && break; sleep 0.05; done
        start_gateway ''
        check 'the same answers as without' same psql -X -h 127.0.0.1 -p PORT -U tester -d postgres -c \
            "SELECT n, md5(n::text) FROM generate_series(1, 50000) n"
        check 'a table goes there and comes back' postgresql_copy
        check 'encryption is negotiated, and declined by the server' within 30 psql -X \
            "host=127.0.0.1 port=$front user=tester dbname=postgres sslmode=prefer" -c 'SELECT 1'
        check 'a notification arrives' postgresql_notification
        check 'a query is cancelled, over a connection of its own' postgresql_cancel
        check 'the gateway ends in order' stop_gateway
    else
        skip postgresql "postgres does not start, see target/gateway/backend.log"
    fi
    cleanup
    rm -rf "$data"
}

# sql PORT ARGUMENTS...
sql() {
    local to=$1
    shift
    within 60 psql -X -v ON_ERROR_STOP=1 -At -h 127.0.0.1 -p "$to" -U tester -d postgres "$@"
}

postgresql_copy() {
    seq 200000 | awk '{ print $1 "\trow " $1 * 7919 % 200003 }' >"$dir/rows"
    sql "$front" -c 'CREATE TABLE rows (n int, text text)' || return 1
    sql "$front" -c '\copy rows FROM STDIN' <"$dir/rows" || return 1
    sql "$front" -c 'COPY (SELECT * FROM rows ORDER BY n) TO STDOUT' | cmp - "$dir/rows"
}

postgresql_notification() {
    sql "$front" -c 'LISTEN news' -c "SELECT pg_notify('news', 'it works')" -c 'SELECT 1' >"$dir/notified" || return 1
    cat "$dir/notified"
    grep -q 'Asynchronous notification "news" with payload "it works"' "$dir/notified"
}

postgresql_cancel() {
    local begun=$SECONDS
    timeout --foreground -s INT 2 psql -X -h 127.0.0.1 -p "$front" -U tester -d postgres -c 'SELECT pg_sleep(30)' \
        >"$dir/cancel" 2>&1
    cat "$dir/cancel"
    grep -q 'canceling statement due to user request' "$dir/cancel" && [ $((SECONDS - begun)) -lt 20 ]
}

with_nginx() {
    command -v nginx >/dev/null || { skip nginx "nginx is not installed"; return; }
    command -v curl >/dev/null || { skip nginx "curl is not installed"; return; }
    local www=$dir/www
    rm -rf "$www" && mkdir -p "$www/logs"
    echo 'hello' >"$www/index.html"
    head -c 20000000 /dev/urandom >"$www/large"
    cat >"$www/nginx.conf.in" <<CONF
daemon off;
pid $www/nginx.pid;
error_log $www/logs/error.log;
$([ "$(id -u)" -ne 0 ] || echo "user root;")
worker_processes 1;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path $www/body;
    proxy_temp_path $www/proxy;
    fastcgi_temp_path $www/fastcgi;
    uwsgi_temp_path $www/uwsgi;
    scgi_temp_path $www/scgi;
    server { listen 127.0.0.1:@port@; root $www; }
}
CONF
    start_backend bash -c "sed 's/@port@/PORT/' '$www/nginx.conf.in' >'$www/nginx.conf' && exec '$(command -v nginx)' -p '$www' -c '$www/nginx.conf'" ||
        { skip nginx "nginx does not start, see target/gateway/backend.log"; return; }
    start_gateway ''
    check 'the same page as without' same curl -sS --fail http://127.0.0.1:PORT/
    check 'a file of 20 MB is whole' nginx_large
    check 'ten of them at once, slowly' nginx_slowly
    if command -v ab >/dev/null; then
        check 'ab, a connection for each request' nginx_ab
        check 'ab, connections kept' nginx_ab -k
    else
        skip 'nginx under ab' 'ab (apache2-utils) is not installed'
    fi
    if command -v wrk >/dev/null; then
        check 'wrk' nginx_wrk
    else
        skip 'nginx under wrk' 'wrk is not installed'
    fi
    check 'the gateway ends in order' stop_gateway
}

nginx_large() { within 60 curl -sS --fail "http://127.0.0.1:$front/large" | cmp - "$dir/www/large"; }

nginx_slowly() {
    local pids=() pid status=0
    for _ in $(seq 10); do
        (within 60 curl -sS --fail --limit-rate 10M -r 0-9999999 "http://127.0.0.1:$front/large" |
            cmp - <(head -c 10000000 "$dir/www/large")) &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || status=1; done
    return "$status"
}

nginx_ab() {
    within 60 ab -q -n 5000 -c 50 "$@" "http://127.0.0.1:$front/" >"$dir/ab" || { cat "$dir/ab"; return 1; }
    cat "$dir/ab"
    grep -qE '^Complete requests: +5000$' "$dir/ab" && grep -qE '^Failed requests: +0$' "$dir/ab"
}

nginx_wrk() {
    within 60 wrk -t 1 -c 50 -d 3s "http://127.0.0.1:$front/" >"$dir/wrk" || { cat "$dir/wrk"; return 1; }
    cat "$dir/wrk"
    ! grep -q 'Socket errors\|Non-2xx' "$dir/wrk" && grep -qE '^ +[1-9][0-9]* requests in' "$dir/wrk"
}

with_ssh() {
    local tool
    for tool in sshd ssh ssh-keygen; do
        command -v "$tool" >/dev/null || { skip ssh "$tool is not installed"; return; }
    done
    local keys
    keys=$(mktemp -d /tmp/linger-gateway.XXXXXX)
    ssh-keygen -q -t ed25519 -N '' -f "$keys/host" </dev/null
    ssh-keygen -q -t ed25519 -N '' -f "$keys/user" </dev/null
    cp "$keys/user.pub" "$keys/authorized"
    # Where it gives its privileges away to; made by its service elsewhere.
    [ "$(id -u)" -ne 0 ] || mkdir -p /run/sshd
    if start_backend "$(command -v sshd)" -D -e -f /dev/null -p PORT -o ListenAddress=127.0.0.1 -o "HostKey=$keys/host" \
        -o "AuthorizedKeysFile=$keys/authorized" -o StrictModes=no -o UsePAM=no -o PidFile=none \
        -o PermitRootLogin=yes; then
        start_gateway 'half_close=forward'
        ssh_options=(-F /dev/null -i "$keys/user" -o IdentitiesOnly=yes -o BatchMode=yes -o LogLevel=ERROR
            -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null 127.0.0.1)
        check 'a command' same ssh -p PORT "${ssh_options[@]}" echo hello
        check '8 MB there and back' ssh_large
        check 'an exit status' ssh_status
        check 'the gateway ends in order' stop_gateway
    else
        skip ssh "sshd does not start, see target/gateway/backend.log"
    fi
    cleanup
    rm -rf "$keys"
}

ssh_large() {
    head -c 8000000 /dev/urandom >"$dir/large"
    within 60 ssh -p "$front" "${ssh_options[@]}" cat <"$dir/large" | cmp - "$dir/large"
}

ssh_status() {
    within 60 ssh -p "$front" "${ssh_options[@]}" exit 7
    [ $? -eq 7 ]
}

main() {
    local applications=() application
    while [ $# -gt 0 ]; do
        case $1 in
            --help | -h) usage; exit 0 ;;
            redis | mosquitto | postgresql | nginx | ssh) applications+=("$1") ;;
            *) usage >&2; exit 2 ;;
        esac
        shift
    done
    [ ${#applications[@]} -gt 0 ] || applications=(redis mosquitto postgresql nginx ssh)
    mkdir -p "$dir"
    if [ ! -x "$linger" ]; then
        (cd "$root" && cargo build --release) || exit 2
    fi
    for application in "${applications[@]}"; do
        echo "== $application"
        "with_$application"
        cleanup
    done
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
}

# Read to its end before it runs, so that it may be changed meanwhile.
{ main "$@"; exit; }
